//! Parquet files: columns of values written in groups of rows, and read back. The digest of what was written is
//! that of what is read, if nothing was lost. Must not know PostgreSQL.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::reader::ColumnReader;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use sha2::{Digest, Sha256};

use super::cell::{Column, Form, Values};

/// A file that is being written.
pub(super) struct Writer {
    file: SerializedFileWriter<File>,
    digest: Sha256,
    pub(super) rows: i64,
}

type Outcome<T> = Result<T, String>;

fn said(error: ParquetError) -> String {
    format!("the Parquet file: {error}")
}

impl Writer {
    /// Begins a file, which only its owner may read. One that is there already is begun anew.
    pub(super) fn create(path: &Path, columns: &[Column]) -> Outcome<Writer> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = SerializedFileWriter::new(file, schema(columns).map_err(said)?, Arc::new(properties));
        Ok(Writer { file: file.map_err(said)?, digest: Sha256::new(), rows: 0 })
    }

    /// Adds a group of rows; all columns have as many.
    pub(super) fn group(&mut self, columns: &[Values]) -> Outcome<()> {
        let rows = columns.first().map_or(0, Values::len);
        let mut group = self.file.next_row_group().map_err(said)?;
        for values in columns {
            let digest = &mut self.digest;
            values.digest(&mut |bytes| digest.update(bytes));
            write(&mut group, values).map_err(said)?;
        }
        group.close().map_err(said)?;
        self.rows += i64::try_from(rows).unwrap_or(i64::MAX);
        Ok(())
    }

    /// Ends the file, which is on the disk then. Returns the digest of its values.
    pub(super) fn end(self) -> Outcome<String> {
        let file = self.file.into_inner().map_err(said)?;
        file.sync_all().map_err(|error| format!("the Parquet file is not on the disk: {error}"))?;
        Ok(hex(self.digest))
    }
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn schema(columns: &[Column]) -> Result<Arc<Type>, ParquetError> {
    let micros = |utc| Some(LogicalType::timestamp(utc, TimeUnit::MICROS));
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let (physical, logical) = match column.form {
            Form::Bool => (Physical::BOOLEAN, None),
            Form::Int32 => (Physical::INT32, None),
            Form::Int64 => (Physical::INT64, None),
            Form::Float32 => (Physical::FLOAT, None),
            Form::Float64 => (Physical::DOUBLE, None),
            Form::Date => (Physical::INT32, Some(LogicalType::Date)),
            Form::Timestamp => (Physical::INT64, micros(false)),
            Form::TimestampTz => (Physical::INT64, micros(true)),
            Form::Decimal { precision, scale } => {
                (Physical::INT64, Some(LogicalType::decimal(scale, precision)))
            }
            Form::Bytes => (Physical::BYTE_ARRAY, None),
            Form::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let mut field = Type::primitive_type_builder(&column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        if let Form::Decimal { precision, scale } = column.form {
            field = field.with_precision(precision).with_scale(scale);
        }
        fields.push(Arc::new(field.build()?));
    }
    Ok(Arc::new(Type::group_type_builder("row").with_fields(fields).build()?))
}

fn write(group: &mut SerializedRowGroupWriter<'_, File>, values: &Values) -> Result<(), ParquetError> {
    match values {
        Values::Bool(values) => column::<BoolType, _>(group, values, |one| *one),
        Values::Int32(values) => column::<Int32Type, _>(group, values, |one| *one),
        Values::Int64(values) => column::<Int64Type, _>(group, values, |one| *one),
        Values::Float32(values) => column::<FloatType, _>(group, values, |one| *one),
        Values::Float64(values) => column::<DoubleType, _>(group, values, |one| *one),
        Values::Bytes(values) => {
            column::<ByteArrayType, _>(group, values, |one| ByteArray::from(one.clone()))
        }
    }
}

fn column<T: DataType, V>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[Option<V>],
    held: impl Fn(&V) -> T::T,
) -> Result<(), ParquetError> {
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let present: Vec<T::T> = values.iter().flatten().map(held).collect();
    let missing = || ParquetError::General("there are more columns than the schema has".to_owned());
    let mut writer = group.next_column()?.ok_or_else(missing)?;
    writer.typed::<T>().write_batch(&present, Some(&levels), None)?;
    writer.close()
}

/// Reads a file group by group; returns the rows and the digest of what was read.
///
/// # Errors
/// It is not a whole Parquet file, has other columns, or `each` fails.
pub(super) fn groups(path: &Path, columns: &[Column]) -> Outcome<Groups> {
    let file = File::open(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let reader = SerializedFileReader::new(file).map_err(said)?;
    let named: Vec<&str> = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .columns()
        .iter()
        .map(|column| column.name())
        .collect();
    if !named.iter().copied().eq(columns.iter().map(|column| column.name.as_str())) {
        return Err(format!("{} does not hold the columns that its manifest names", path.display()));
    }
    Ok(Groups {
        reader,
        forms: columns.iter().map(|column| column.form).collect(),
        digest: Sha256::new(),
        next: 0,
    })
}

/// The groups of a file, one after the other.
pub(super) struct Groups {
    reader: SerializedFileReader<File>,
    forms: Vec<Form>,
    digest: Sha256,
    next: usize,
}

impl Groups {
    /// The next group of rows; `None`: that was all.
    pub(super) fn next(&mut self) -> Outcome<Option<Vec<Values>>> {
        if self.next >= self.reader.num_row_groups() {
            return Ok(None);
        }
        let group = self.reader.get_row_group(self.next).map_err(said)?;
        self.next += 1;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or_default();
        let mut columns = Vec::with_capacity(self.forms.len());
        for (at, form) in self.forms.iter().enumerate() {
            let values = read(group.get_column_reader(at).map_err(said)?, *form, rows)?;
            let digest = &mut self.digest;
            values.digest(&mut |bytes| digest.update(bytes));
            columns.push(values);
        }
        Ok(Some(columns))
    }

    /// Of everything that was read.
    pub(super) fn digest(self) -> String {
        hex(self.digest)
    }
}

fn read(reader: ColumnReader, form: Form, rows: usize) -> Outcome<Values> {
    let (reader, mut values) = (reader, Values::new(form));
    macro_rules! fill {
        ($reader:expr, $into:expr, $held:expr) => {{
            let (mut reader, mut levels, mut present) = ($reader, Vec::new(), Vec::new());
            // A call may end at a page's end.
            while levels.len() < rows {
                let left = rows - levels.len();
                let read = reader.read_records(left, Some(&mut levels), None, &mut present).map_err(said)?;
                if read.0 == 0 {
                    return Err("the Parquet file has fewer rows than it says".to_owned());
                }
            }
            let mut present = present.into_iter();
            $into
                .extend(levels.iter().map(|level| (*level > 0).then(|| present.next()).flatten().map($held)));
        }};
    }
    match (reader, &mut values) {
        (ColumnReader::BoolColumnReader(reader), Values::Bool(into)) => fill!(reader, into, |one| one),
        (ColumnReader::Int32ColumnReader(reader), Values::Int32(into)) => fill!(reader, into, |one| one),
        (ColumnReader::Int64ColumnReader(reader), Values::Int64(into)) => fill!(reader, into, |one| one),
        (ColumnReader::FloatColumnReader(reader), Values::Float32(into)) => fill!(reader, into, |one| one),
        (ColumnReader::DoubleColumnReader(reader), Values::Float64(into)) => fill!(reader, into, |one| one),
        (ColumnReader::ByteArrayColumnReader(reader), Values::Bytes(into)) => {
            fill!(reader, into, |one: ByteArray| one.data().to_vec())
        }
        _ => return Err("the Parquet file has columns of other types than its manifest says".to_owned()),
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<(Column, Values)> {
        let column = |name: &str, form| Column { name: name.to_owned(), type_name: String::new(), form };
        let text = |text: &str| Some(text.as_bytes().to_vec());
        vec![
            (column("b", Form::Bool), Values::Bool(vec![Some(true), None, Some(false)])),
            (column("i", Form::Int32), Values::Int32(vec![None, Some(i32::MIN), Some(7)])),
            (column("at", Form::TimestampTz), Values::Int64(vec![Some(-1), Some(i64::MAX), None])),
            (
                column("d", Form::Decimal { precision: 10, scale: 2 }),
                Values::Int64(vec![Some(1), Some(-1), Some(0)]),
            ),
            (column("f", Form::Float32), Values::Float32(vec![Some(f32::MIN), Some(-0.0), None])),
            (column("g", Form::Float64), Values::Float64(vec![Some(f64::NAN), Some(0.1), None])),
            (column("x", Form::Bytes), Values::Bytes(vec![Some(vec![]), None, Some(vec![0, 255])])),
            (column("t", Form::Text), Values::Bytes(vec![text(""), text("é"), None])),
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let (columns, values): (Vec<Column>, Vec<Values>) = columns().into_iter().unzip();
        let mut writer = Writer::create(&path, &columns).unwrap();
        writer.group(&values).unwrap();
        writer.group(&values).unwrap();
        assert_eq!(writer.rows, 6);
        let digest = writer.end().unwrap();
        let mut read = groups(&path, &columns).unwrap();
        for _ in 0..2 {
            // NaN is not equal to itself; the digest compares bits.
            assert_eq!(format!("{:?}", read.next().unwrap().unwrap()), format!("{values:?}"));
        }
        assert!(read.next().unwrap().is_none());
        assert_eq!(read.digest(), digest);
        assert!(groups(&path, &columns[1..]).is_err());
    }

    #[test]
    fn a_damaged_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let column = Column { name: "n".to_owned(), type_name: String::new(), form: Form::Int64 };
        let columns = [column];
        let mut writer = Writer::create(&path, &columns).unwrap();
        writer.group(&[Values::Int64((0..1000).map(|n| Some(n * 7_919)).collect())]).unwrap();
        let digest = writer.end().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let judge = |bytes: &[u8]| -> Result<String, String> {
            std::fs::write(&path, bytes).unwrap();
            let mut read = groups(&path, &columns)?;
            while read.next()?.is_some() {}
            Ok(read.digest())
        };
        assert_eq!(judge(&whole), Ok(digest.clone()));
        assert!(judge(&whole[..whole.len() - 10]).is_err());
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        assert_ne!(judge(&bytes), Ok(digest));
    }
}
