CREATE TABLE base.orders AS
SELECT i AS id, (1 + (i::bigint * 7919) % 2000)::int AS customer_id,
       CASE WHEN i % 20 = 0 THEN 'open' WHEN i % 20 < 6 THEN 'paid' ELSE 'shipped' END AS status,
       timestamptz '2024-01-01' + interval '35 minutes' * i AS created_at,
       round((i * 37 % 10000)::numeric / 10, 2) AS total,
       'region ' || i * 31 % 8 AS region,
       CASE WHEN i % 50 = 0 THEN timestamptz '2024-01-01' + interval '36 minutes' * i END AS deleted_at,
       i % 100 = 3 AS failed, 'User' || i || '@Example.com' AS email,
       'name ' || md5(i::text) AS name,
       jsonb_build_object('sku', 'S' || i % 5000, 'kind', i % 3) AS payload,
       ARRAY['t' || i % 700, 'u' || i % 900] AS tags,
       CASE WHEN i % 1000 = 7 THEN NULL ELSE i * 13 % 20000 END AS parent_id,
       repeat('note ', 20) AS note
FROM generate_series(1, 20000) i;
CREATE TABLE base.items AS
SELECT i AS id, (1 + (i::bigint * 7919) % 20000)::int AS order_id, (1 + (i::bigint * 104729) % 3000)::int AS product_id,
       i * 31 % 10 AS quantity, timestamp '2024-01-01' + interval '17 minutes' * i AS added_at
FROM generate_series(1, 40000) i;
CREATE TABLE base.customers AS
SELECT i AS id, 'customer ' || i AS name, 'c' || i || '@example.com' AS email, 'country ' || i % 20 AS country,
       repeat('x', 100) AS note
FROM generate_series(1, 2000) i;
VACUUM (ANALYZE) base.orders, base.items, base.customers
