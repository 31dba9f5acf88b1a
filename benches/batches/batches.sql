-- What batches.py and Batches.java insert into.
CREATE TABLE IF NOT EXISTS batches (id bigserial PRIMARY KEY, a int, b varchar(40), c numeric(9, 2), d timestamptz);
