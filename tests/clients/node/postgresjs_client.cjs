// postgres.js: the common conversation; it pipelines by itself, asks Describe + Flush before Bind, and names statements.
'use strict'
const postgres = require('postgres')
const { pipeline: pipe } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { ALL_BYTES, CLIENTS, HAIRY, LOOKUPS, MEGABYTE, PATIENCE, ROWS, Talk, bigText, md5, pause } = require('./talk.cjs')

const t = new Talk('postgresjs')
const S = t.schema

// Calls `body` with one `sql` of a single connection for each of `options`, and ends them all.
async function open(options, body) {
  const made = options.map(({ connection, ...more }) => postgres(t.url, { max: 1, onnotice: () => {}, connection: { application_name: 'pgweir-clients', ...connection }, ...more }))
  try {
    return await body(...made)
  } finally {
    await Promise.all(made.map((sql) => sql.end({ timeout: 5 })))
  }
}

async function ask(sql, text, values = []) {
  const tagged = t.tagged(text)
  const [row] = await sql.unsafe(tagged.text, values, { prepare: true })
  return t.mine(tagged.qid, row)
}
const one = async (sql, text, values) => Object.values(await ask(sql, text, values))[0]
const stateOf = (promise) => promise.then(() => 'no error', (error) => error.code ?? String(error))

async function types() {
  const cases = [
    ['int2', -32768], ['int4', 2147483647], ['int8', '-9223372036854775808'], ['float8', 1.5], ['bool', true],
    ['numeric', '12345678901234567890.123456789'], ['text', HAIRY], ['uuid', '01234567-89ab-cdef-0123-456789abcdef'],
    ['timestamptz', new Date('2024-02-29T12:34:56.789Z')], ['int4[]', [1, null, -3]], ['text[]', ['a,b', 'q"uote', '', 'NULL']],
    ['jsonb', { a: [1, { b: null }], ü: '🐘' }],
  ]
  await open([{}], async (sql) => {
    for (const [kind, value] of cases) t.check(`types.${kind}`, await one(sql, `select $1::${kind} as v`, [value]), value)
    t.check('types.bytea', md5(await one(sql, 'select $1::bytea as v', [ALL_BYTES])), md5(ALL_BYTES))
    const { columns, types: given } = await sql`select ${1}::int4 as n, ${'a'}::text as s`.describe()
    t.check('types.described', [columns.map((c) => [c.name, c.type]), [...given]], [[['n', 23], ['s', 25]], [23, 25]])
  })
}

async function nulls() {
  await open([{}], async (sql) => {
    for (const kind of ['int4', 'text', 'numeric', 'timestamptz', 'uuid', 'jsonb', 'bytea', 'int4[]']) {
      t.check(`nulls.${kind}`, await ask(sql, `select $1::${kind} as v, $1::${kind} is null as n, 7 as seven`, [null]), { v: null, n: true, seven: 7 })
    }
    t.check('nulls.empty_text', await ask(sql, 'select $1::text as v, $1::text is null as n', ['']), { v: '', n: false })
  })
}

async function big() {
  await open([{}], async (sql) => {
    for (const [size, name] of [[MEGABYTE, '1MB'], [20 * MEGABYTE, '20MB']]) {
      const text = bigText(size)
      const { v, d } = await ask(sql, 'select v, md5(v) as d from (select $1::text as v) w', [text])
      t.check(`big.text.${name}`, [v.length, md5(v), d], [size, md5(text), md5(text)])
    }
    const rows = await sql`select g, md5(g::text) as d from generate_series(1, 100000) g`
    t.check('big.rows', [rows.length, rows.reduce((sum, row) => sum + row.g, 0), rows.at(-1).d], [100000, 5000050000, md5('100000')])
  })
}

async function errors() {
  const notices = []
  await open([{ onnotice: (notice) => notices.push([notice.code, notice.message]) }], async (sql) => {
    await sql.unsafe(`create table ${S}.strict (id int primary key, n int not null check (n > 0)); insert into ${S}.strict values (1, 1)`)
    const insert = `insert into ${S}.strict values ($1, $2)`
    const cases = [
      ['syntax', 'selec 1', [], '42601'], ['table', 'select * from no_such_table where n = $1', [1], '42P01'], ['division', 'select 1 / $1::int', [0], '22012'],
      ['unique', insert, [1, 1], '23505'], ['not_null', insert, [2, null], '23502'], ['check', insert, [3, -1], '23514'],
      ['multi', 'select 1; select 1/0; select 2', [], '22012'], ['mid_result', 'select 1 / ($1 - g) from generate_series(1, 9999) g', [5000], '22012'],
    ]
    for (const [n, [name, text, values, want]] of cases.entries()) {
      t.check(`errors.${name}`, await stateOf(sql.unsafe(text, values, { prepare: values.length > 0 })), want)
      // After rows and then an error, postgres.js 3.4 numbers the next result's rows on from there; one more query sets it right.
      if (name === 'mid_result') await sql`select 1`
      t.check(`errors.${name}.after`, await one(sql, 'select $1::int as v', [n]), n)
    }
    const error = await sql.unsafe(insert, [1, 1]).catch((e) => e)
    t.check('errors.fields', [error.constraint_name, error.table_name, error.detail, error.severity], ['strict_pkey', 'strict', 'Key (id)=(1) already exists.', 'ERROR'])
    const states = []
    await sql.begin(async (tx) => {
      states.push(await stateOf(tx`select 1/0`), await stateOf(tx`select 1`))
    }).catch((e) => states.push(e.code ?? e.message))
    t.check('errors.in_transaction', states.slice(0, 2), ['22012', '25P02'])
    t.check('errors.aborted.after', await one(sql, 'select 5 as v'), 5)
    await sql`do $$ begin raise notice 'hello %', 42; end $$`
    t.check('errors.notice', notices.at(-1), ['00000', 'hello 42'])
  })
}

async function transactions() {
  await open([{}, {}], async (sql, other) => {
    await sql.unsafe(`create table ${S}.tx (n int)`)
    const count = `select count(*)::int as v from ${S}.tx`
    const insert = (tx, n) => tx.unsafe(`insert into ${S}.tx values ($1)`, [n])
    await sql.begin(async (tx) => {
      await insert(tx, 1)
      t.check('tx.own_write', await one(tx, count), 1)
      t.check('tx.isolated', await one(other, count), 0)
    })
    t.check('tx.commit', await one(other, count), 1)
    await sql.begin(async (tx) => {
      await insert(tx, 2)
      throw new Error('changed my mind')
    }).catch((error) => error.message)
    t.check('tx.rollback', await one(other, count), 1)
    await sql.begin(async (tx) => {
      await insert(tx, 3)
      await tx.savepoint(async (sp) => {
        await insert(sp, 4)
        await sp`select 1/0`
      }).catch((error) => error.code)
      await insert(tx, 5)
    })
    t.check('tx.savepoint', await one(other, `select array_agg(n order by n) as v from ${S}.tx`), [1, 3, 5])
    const states = []
    await sql.begin('isolation level serializable read only', async (tx) => {
      states.push(await one(tx, "select current_setting('transaction_isolation') as v"), await stateOf(insert(tx, 6)))
    }).catch((error) => error.code)
    t.check('tx.serializable_read_only', states, ['serializable', '25006'])
    // All statements of this transaction are on the wire before the first answer is read.
    const got = await sql.begin((tx) => [1, 2, 3, 4, 5].map((n) => tx`select ${n}::int as n, txid_current()::text as x`))
    t.check('tx.pipelined', [got.map(([row]) => row.n), new Set(got.map(([row]) => row.x)).size], [[1, 2, 3, 4, 5], 1])
  })
}

async function prepared() {
  await open([{}, {}, { prepare: false }], async (sql, other, plain) => {
    let right = true
    for (let n = 0; n < 40; n++) {
      const [[a], [b], [c]] = await Promise.all([sql`select ${n}::int4 as n, ${n}::int4 * 2 as d`, other`select upper(${`w${n}`}) as w`, plain`select ${n}::int4 * 3 as n`])
      right &&= a.n === n && a.d === 2 * n && b.w === `W${n}` && c.n === 3 * n
    }
    t.check('prepared.reused', right, true)
    await sql.unsafe(`create table ${S}.ddl (a int4); insert into ${S}.ddl values (42)`)
    const read = async (more = '') => (await sql.unsafe(`select a from ${S}.ddl ${more}`, [], { prepare: true }))[0].a
    t.check('prepared.before_ddl', [await read(), await read(), await read()], [42, 42, 42])
    await other.unsafe(`alter table ${S}.ddl add column b int`)
    t.check('prepared.added_column', await read(), 42)
    await other.unsafe(`alter table ${S}.ddl alter column a type text using 'n0' || a`)
    t.afterDdl('prepared.changed_type', await read().catch((error) => error.code), 'n042')
    t.check('prepared.anew', await read('where true'), 'n042')
    await sql.unsafe('prepare mine(int) as select $1 + 1 as v')
    t.check('prepared.sql', await sql.unsafe('execute mine(1)'), [{ v: 2 }])
    t.check('prepared.sql.other_client', await stateOf(other.unsafe('execute mine(1)')), '26000')
    await sql.unsafe('deallocate mine')
    t.check('prepared.sql.gone', await stateOf(sql.unsafe('execute mine(1)')), '26000')
  })
}

async function pipeline() {
  await open([{}], async (sql) => {
    await sql.unsafe(`create table ${S}.pipe (n int primary key)`)
    const got = await Promise.all(Array.from({ length: 300 }, (_, n) => sql`select ${n}::int as n, ${`p${n}`}::text as s`))
    t.check('pipeline.order', got.every(([row], n) => row.n === n && row.s === `p${n}`), true)
    const insert = (n) => stateOf(sql.unsafe(`insert into ${S}.pipe values ($1)`, [n], { prepare: true }))
    const states = await Promise.all([1, 2, 1, 3, 4].map(insert))
    t.check('pipeline.error', [states, await one(sql, `select array_agg(n order by n) as v from ${S}.pipe`)], [['no error', 'no error', '23505', 'no error', 'no error'], [1, 2, 3, 4]])
    const many = Array.from({ length: 1000 }, (_, n) => ({ n: n + 100 }))
    t.check('pipeline.bulk', (await sql`insert into ${sql(`${S}.pipe`)} ${sql(many)}`).count, 1000)
  })
}

async function copy() {
  await open([{}], async (sql) => {
    await sql.unsafe(`create table ${S}.copied (n int, s text)`)
    const lines = Array.from({ length: ROWS }, (_, n) => `${n}\t${n % 10 ? `row ${n}` : '\\N'}\n`)
    const load = async (data) => pipe(Readable.from(data), await sql.unsafe(`copy ${S}.copied from stdin`).writable())
    await load(lines)
    t.check('copy.in', await ask(sql, `select count(*)::int as c, count(s)::int as s, sum(n)::int as n from ${S}.copied`), { c: ROWS, s: (ROWS * 9) / 10, n: (ROWS * (ROWS - 1)) / 2 })
    const out = []
    // Read by events: read by `for await`, postgres.js 3.4 can leave its socket paused for ever at the end.
    const source = await sql.unsafe(`copy (select * from ${S}.copied order by n) to stdout`).readable()
    await new Promise((done, fail) => source.on('data', (chunk) => out.push(chunk)).on('end', done).on('error', fail))
    t.check('copy.out', md5(Buffer.concat(out)), md5(lines.join('')))
    t.check('copy.after', await one(sql, 'select 4 as v'), 4)
    // Refused rows are not tried: postgres.js 3.4 never tells the writer of the error, with or without a proxy.
    const broken = async function* () {
      yield '1\tx\n'
      throw new Error('the file is gone')
    }
    const gone = await load(broken()).catch((error) => error.message)
    t.check('copy.aborted', [gone, await one(sql, `select count(*)::int as v from ${S}.copied`)], ['the file is gone', ROWS])
  })
}

// Returns when a query that carries the marker sleeps in the server.
async function untilAsleep(watcher, marker) {
  for (const end = Date.now() + PATIENCE; ; await pause(20)) {
    if (await one(watcher, "select count(*)::int as v from pg_stat_activity where wait_event = 'PgSleep' and query like $1", [`%${marker}%`])) return
    if (Date.now() > end) throw new Error('the query to be cancelled never started')
  }
}

async function cancel() {
  // A pool for each round: postgres.js 3.4 may take the connection that carried a cancel for its next query, and then
  // sends the cancel a second time.
  for (let round = 0; round < 3; round++) {
    await open([{}, {}], async (sql, watcher) => {
      const marker = `${S}_sleep_${round}`
      const query = sql.unsafe(`select pg_sleep(60) /* ${marker} */`)
      const ended = stateOf(query)
      await untilAsleep(watcher, marker)
      await query.cancel()
      t.check(`cancel.${round}`, await ended, '57014')
      t.check(`cancel.${round}.after`, await one(sql, 'select $1::int as v', [round]), round)
    })
  }
}

async function listen() {
  await open([{}, {}], async (sql, other) => {
    const channel = `${S}_news`
    const heard = []
    const take = async (count, patience = PATIENCE) => {
      for (const end = Date.now() + patience; heard.length < count && Date.now() < end; ) await pause(10)
      return heard.splice(0)
    }
    const { unlisten } = await sql.listen(channel, (payload) => heard.push(payload))
    for (let n = 0; n < 3; n++) await other.notify(channel, `message ${n} ü`)
    t.check('listen.from_other', await take(3), ['message 0 ü', 'message 1 ü', 'message 2 ü'])
    await sql.begin((tx) => tx`select pg_notify(${channel}, 'from a transaction')`)
    t.check('listen.from_transaction', await take(1), ['from a transaction'])
    t.check('listen.still_usable', await one(sql, 'select 3 as v'), 3)
    await unlisten()
    await other.notify(channel, 'nobody listens')
    t.check('listen.unlisten', await take(1, 300), [])
  })
}

async function settings() {
  const [noon, show] = ["select timestamptz '2024-01-01 00:00:00Z'::text as v", "select current_setting('application_name') as v"]
  const [zoneOf, limitOf] = ["select current_setting('TimeZone') as v", "select current_setting('statement_timeout') as v"]
  let zone
  await open([{ connection: { statement_timeout: 54321 } }, { connection: { application_name: 'other' } }], async (sql, other) => {
    zone = await one(other, zoneOf)
    await sql.unsafe("set TimeZone = 'Asia/Tokyo'")
    await sql.unsafe(`set search_path = ${S}`)
    await sql.unsafe('create table found as select 9 as n')
    for (let n = 0; n < 5; n++) {
      t.check(`settings.kept.${n}`, [await one(sql, noon), await one(sql, 'select n from found'), (await one(other, zoneOf)) === zone], ['2024-01-01 09:00:00+09', 9, true])
    }
    t.check('settings.search_path.other', await stateOf(other`select n from found`), '42P01')
    await sql.begin(async (tx) => {
      await tx`set local TimeZone = 'America/New_York'`
      await tx`set application_name = 'rolled back'`
      t.check('settings.local', [await one(tx, noon), await one(tx, show)], ['2023-12-31 19:00:00-05', 'rolled back'])
      throw new Error('changed my mind')
    }).catch((error) => t.check('settings.thrown', error.message, 'changed my mind'))
    t.check('settings.rolled_back', [await one(sql, noon), await one(sql, show)], ['2024-01-01 09:00:00+09', 'pgweir-clients'])
    await sql`select set_config('application_name', ${'by function'}, false)`
    t.check('settings.set_config', [await one(sql, show), await one(other, show)], ['by function', 'other'])
    t.check('settings.startup', await one(sql, limitOf), '54321ms')
    await sql`set statement_timeout = 0`
    await sql`reset all`
    t.check('settings.reset_all', [await one(sql, show), await one(sql, limitOf), (await one(sql, zoneOf)) === zone], ['pgweir-clients', '54321ms', true])
  })
  await open([{}], async (sql) => t.check('settings.no_leak', [await one(sql, show), (await one(sql, zoneOf)) === zone], ['pgweir-clients', true]))
}

async function advisory() {
  const [attempt, unlock] = ['select pg_try_advisory_lock($1) as v', 'select pg_advisory_unlock($1) as v']
  const key = [t.lockKey]
  await open([{}], async (other) => {
    await open([{}], async (sql) => {
      await sql`select pg_advisory_lock(${t.lockKey})`
      t.check('advisory.held', [await one(other, attempt, key), await one(other, attempt, key)], [false, false])
      t.check('advisory.unlock', await one(sql, unlock, key), true)
      t.check('advisory.free', [await one(other, attempt, key), await one(other, unlock, key)], [true, true])
      await sql`select pg_advisory_lock(${t.lockKey})`
    })
    let free = false
    for (const end = Date.now() + PATIENCE; !free && Date.now() < end; await pause(20)) free = await one(other, attempt, key)
    t.check('advisory.released_by_close', free, true)
  })
}

async function temp() {
  const exists = "select to_regclass('pg_temp.scratch') is not null as v"
  await open([{}], async (other) => {
    await open([{}], async (sql) => {
      await sql`create temp table scratch (n int)`
      for (let n = 0; n < 5; n++) {
        await sql`insert into scratch values (${n})`
        t.check(`temp.kept.${n}`, [await one(sql, 'select count(*)::int as v from scratch'), await one(other, exists)], [n + 1, false])
      }
    })
    await open([{}], async (again) => t.check('temp.gone', [await one(again, exists), await one(other, exists)], [false, false]))
  })
}

async function cursors() {
  await open([{}, {}], async (sql, other) => {
    await sql.begin((tx) => tx`declare held cursor with hold for select g from generate_series(1, 10) g`)
    const got = []
    for (let n = 0; n < 3; n++) {
      got.push(...(await sql`fetch 4 from held`).map((row) => row.g))
      await other`select 1`
    }
    t.check('cursors.with_hold', got, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    await sql`close held`
    let right = 0
    await sql`select g, md5(g::text) as d from generate_series(1, ${1000}::int) g`.cursor(100, (rows) => {
      right += rows.filter((row) => row.d === md5(String(row.g))).length
    })
    t.check('cursors.portal', right, 1000)
    const few = []
    for await (const rows of sql`select generate_series(1, 100000) as g`.cursor(3)) {
      few.push(...rows.map((row) => row.g))
      if (few.length > 5) break
    }
    t.check('cursors.closed_early', [few, await one(sql, 'select 4 as v')], [[1, 2, 3, 4, 5, 6], 4])
    let each = 0
    await sql`select generate_series(1, 5000) as g`.forEach(() => each++)
    t.check('cursors.for_each', each, 5000)
  })
}

async function many() {
  const wrong = []
  let done = 0
  await open([{}], (sql) => sql.unsafe(`create table ${S}.lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, ${CLIENTS - 1}) c, generate_series(0, ${LOOKUPS - 1}) n`))
  const client = (me) => open([{ connection: { application_name: `client ${me}` } }], async (sql) => {
    const ask = async (n) => {
      const [row] = await sql`select ${me}::int as me, ${n}::int as n, current_setting('application_name') as name, owner from ${sql(`${S}.lookup`)} where id = ${me * 1000 + n}`
      if (row?.me !== me || row.n !== n || row.name !== `client ${me}` || row.owner !== `owner ${me}/${n}`) wrong.push(row)
      done++
    }
    for (let n = 0; n < LOOKUPS; n += 5) await Promise.all([0, 1, 2, 3, 4].filter((more) => n + more < LOOKUPS).map((more) => ask(n + more)))
  })
  await Promise.all(Array.from({ length: CLIENTS }, (_, me) => client(me)))
  t.check('many.lookups', [done, wrong], [CLIENTS * LOOKUPS, []])
  const pool = postgres(t.url, { max: 3 })
  const got = await Promise.all(Array.from({ length: CLIENTS * 10 }, (_, n) => pool`select ${n}::int as v`))
  t.check('many.pool', got.every(([row], n) => row.v === n), true)
  await pool.end()
}

async function main() {
  await open([{}], (sql) => sql.unsafe(`create schema ${S}`))
  await t.run([types, nulls, big, errors, transactions, prepared, pipeline, copy, cancel, listen, settings, advisory, temp, cursors, many])
  await open([{}], (sql) => sql.unsafe(`drop schema ${S} cascade`))
  t.finish()
}

main()
