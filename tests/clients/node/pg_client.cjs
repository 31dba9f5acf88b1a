// node-postgres: the common conversation, with named statements, its pipeline mode, pg-cursor and pg-copy-streams.
'use strict'
const { Client, Pool } = require('pg')
const Cursor = require('pg-cursor')
const copyStreams = require('pg-copy-streams')
const { pipeline: pipe } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { ALL_BYTES, CLIENTS, HAIRY, LOOKUPS, MEGABYTE, PATIENCE, ROWS, Talk, bigText, md5, pause } = require('./talk.cjs')

const t = new Talk('node_pg')
const S = t.schema

// Calls `body` with one open connection for each of `options`, and closes them all.
async function open(options, body) {
  const conns = []
  try {
    for (const more of options) {
      const conn = new Client({ connectionString: t.url, application_name: 'pgweir-clients', ...more })
      conn.on('error', (error) => t.note(`connection lost: ${error.message}`))
      await conn.connect()
      conns.push(conn)
    }
    return await body(...conns)
  } finally {
    await Promise.all(conns.map((conn) => conn.end()))
  }
}

async function ask(conn, sql, values, more) {
  const { qid, text } = t.tagged(sql)
  const { rows } = await conn.query({ text, values, ...more })
  return t.mine(qid, rows[0])
}
const one = async (conn, sql, values, more) => Object.values(await ask(conn, sql, values, more))[0]
const stateOf = (promise) => promise.then(() => 'no error', (error) => error.code ?? String(error))

async function types() {
  const cases = [
    ['int2', -32768], ['int4', 2147483647], ['int8', '-9223372036854775808'], ['float8', 1.5], ['bool', true],
    ['numeric', '12345678901234567890.123456789'], ['text', HAIRY], ['uuid', '01234567-89ab-cdef-0123-456789abcdef'],
    ['timestamptz', '2024-02-29T12:34:56.789Z'], ['bytea', ALL_BYTES], ['int4[]', [1, null, -3]],
    ['text[]', ['a,b', 'q"uote', null, '', 'NULL']], ['jsonb', { a: [1, { b: null }], ü: '🐘' }],
  ]
  await open([{}], async (conn) => {
    for (const [kind, value] of cases) t.check(`types.${kind}`, await one(conn, `select $1::${kind} as v`, [value]), value)
    for (const [kind, value] of [['int4', 7], ['bool', false], ['text', 'ü'], ['int8', '5']]) {
      t.check(`types.binary.${kind}`, await one(conn, `select $1::${kind} as v`, [value], { binary: true }), value)
    }
  })
}

async function nulls() {
  await open([{}], async (conn) => {
    for (const kind of ['int4', 'text', 'numeric', 'timestamptz', 'uuid', 'jsonb', 'bytea', 'int4[]']) {
      t.check(`nulls.${kind}`, await ask(conn, `select $1::${kind} as v, $1::${kind} is null as n, 7 as seven`, [null]), { v: null, n: true, seven: 7 })
    }
    t.check('nulls.empty_text', await ask(conn, 'select $1::text as v, $1::text is null as n', ['']), { v: '', n: false })
  })
}

async function big() {
  await open([{}], async (conn) => {
    for (const [size, name] of [[MEGABYTE, '1MB'], [20 * MEGABYTE, '20MB']]) {
      const text = bigText(size)
      const { v, d } = await ask(conn, 'select v, md5(v) as d from (select $1::text as v) w', [text])
      t.check(`big.text.${name}`, [v.length, md5(v), d], [size, md5(text), md5(text)])
    }
    const blob = Buffer.concat(Array(4096).fill(ALL_BYTES))
    t.check('big.bytea.1MB', md5(await one(conn, 'select $1::bytea as v', [blob])), md5(blob))
    const { rows } = await conn.query('select g, md5(g::text) as d from generate_series(1, 100000) g')
    t.check('big.rows', [rows.length, rows.reduce((sum, row) => sum + row.g, 0), rows.at(-1).d], [100000, 5000050000, md5('100000')])
  })
}

async function errors() {
  await open([{}], async (conn) => {
    await conn.query(`create table ${S}.strict (id int primary key, n int not null check (n > 0))`)
    await conn.query(`insert into ${S}.strict values (1, 1)`)
    const insert = `insert into ${S}.strict values ($1, $2)`
    const cases = [
      ['syntax', ['selec 1'], '42601'], ['table', ['select * from no_such_table where n = $1', [1]], '42P01'],
      ['division', ['select 1 / $1::int', [0]], '22012'], ['unique', [insert, [1, 1]], '23505'], ['not_null', [insert, [2, null]], '23502'],
      ['check', [insert, [3, -1]], '23514'], ['multi', ['select 1; select 1/0; select 2'], '22012'],
      ['mid_result', ['select 1 / ($1 - g) from generate_series(1, 9999) g', [5000]], '22012'],
    ]
    for (const [n, [name, call, want]] of cases.entries()) {
      t.check(`errors.${name}`, await stateOf(conn.query(...call)), want)
      t.check(`errors.${name}.after`, await one(conn, 'select $1::int as v', [n]), n)
    }
    const error = await conn.query(insert, [1, 1]).catch((e) => e)
    t.check('errors.fields', [error.constraint, error.table, error.detail, error.severity], ['strict_pkey', 'strict', 'Key (id)=(1) already exists.', 'ERROR'])
    await conn.query('begin')
    t.check('errors.in_transaction', await stateOf(conn.query('select 1/0')), '22012')
    t.check('errors.aborted', await stateOf(conn.query('select 1')), '25P02')
    await conn.query('rollback')
    t.check('errors.aborted.after', await one(conn, 'select 5 as v'), 5)
    const notices = []
    conn.on('notice', (notice) => notices.push([notice.code, notice.message]))
    await conn.query("do $$ begin raise notice 'hello %', 42; end $$")
    t.check('errors.notice', notices, [['00000', 'hello 42']])
  })
}

async function transactions() {
  await open([{}, {}], async (conn, other) => {
    await conn.query(`create table ${S}.tx (n int)`)
    const count = `select count(*)::int as v from ${S}.tx`
    await conn.query('begin')
    await conn.query(`insert into ${S}.tx values ($1)`, [1])
    t.check('tx.own_write', await one(conn, count), 1)
    t.check('tx.isolated', await one(other, count), 0)
    await conn.query('commit')
    t.check('tx.commit', await one(other, count), 1)
    await conn.query(`begin; insert into ${S}.tx values (2); rollback`)
    t.check('tx.rollback', await one(other, count), 1)
    for (const sql of ['begin', `insert into ${S}.tx values (3)`, 'savepoint a', `insert into ${S}.tx values (4)`]) await conn.query(sql)
    t.check('tx.error', await stateOf(conn.query('select 1/0')), '22012')
    for (const sql of ['rollback to a', `insert into ${S}.tx values (5)`, 'commit']) await conn.query(sql)
    t.check('tx.savepoint', await one(other, `select array_agg(n order by n) as v from ${S}.tx`), [1, 3, 5])
    await conn.query('begin isolation level serializable read only')
    t.check('tx.serializable', await one(conn, "select current_setting('transaction_isolation') as v"), 'serializable')
    t.check('tx.read_only', await stateOf(conn.query(`insert into ${S}.tx values (6)`)), '25006')
    await conn.query('rollback')
  })
}

async function prepared() {
  await open([{}, {}], async (conn, other) => {
    let right = true
    for (let n = 0; n < 40; n++) {
      const a = await conn.query({ name: 'same name', text: 'select $1::int4 as n, $1::int4 * 2 as d', values: [n] })
      const b = await other.query({ name: 'same name', text: 'select upper($1) as w', values: [`w${n}`] })
      const c = await conn.query({ name: 'word', text: 'select lower($1) as w', values: [`W${n}`] })
      right &&= a.rows[0].n === n && a.rows[0].d === 2 * n && b.rows[0].w === `W${n}` && c.rows[0].w === `w${n}`
    }
    t.check('prepared.reused', right, true)
    t.check('prepared.bad', await stateOf(conn.query({ name: 'bad', text: 'selec $1', values: [1] })), '42601')
    t.check('prepared.bad.again', (await conn.query({ name: 'bad', text: 'select $1::int as v', values: [1] })).rows, [{ v: 1 }])
    await conn.query(`create table ${S}.ddl (a int4); insert into ${S}.ddl values (42)`)
    const reader = { name: 'reader', text: `select a from ${S}.ddl` }
    const read = async (more) => (await conn.query({ ...reader, ...more })).rows[0].a
    t.check('prepared.before_ddl', [await read(), await read(), await read()], [42, 42, 42])
    await other.query(`alter table ${S}.ddl add column b int`)
    t.check('prepared.added_column', await read(), 42)
    await other.query(`alter table ${S}.ddl alter column a type text using 'n0' || a`)
    t.afterDdl('prepared.changed_type', await read().catch((error) => error.code), 'n042')
    t.check('prepared.anew', await read({ name: 'reader 2' }), 'n042')
    await conn.query('prepare mine(int) as select $1 + 1 as v')
    t.check('prepared.sql', (await conn.query('execute mine(1)')).rows, [{ v: 2 }])
    t.check('prepared.sql.other_client', await stateOf(other.query('execute mine(1)')), '26000')
    // SQL may name a statement that was prepared by the protocol.
    t.check('prepared.protocol_by_sql', (await conn.query("execute word('ABC')")).rows, [{ w: 'abc' }])
    await conn.query('deallocate mine')
    t.check('prepared.sql.gone', await stateOf(conn.query('execute mine(1)')), '26000')
    await conn.query('deallocate "same name"')
    t.check('prepared.deallocated', await stateOf(conn.query({ name: 'same name', text: 'select $1::int4 as n, $1::int4 * 2 as d', values: [1] })), '26000')
  })
}

async function pipeline() {
  await open([{ pipeline: true }], async (conn) => {
    await conn.query(`create table ${S}.pipe (n int primary key)`)
    const asked = Array.from({ length: 200 }, (_, n) => conn.query({ name: n % 3 ? 'even' : undefined, text: 'select $1::int as n, $2::text as s', values: [n, `p${n}`] }))
    const got = (await Promise.all(asked)).map(({ rows }) => rows[0])
    t.check('pipeline.order', got.every((row, n) => row.n === n && row.s === `p${n}`), true)
    const insert = `insert into ${S}.pipe values ($1)`
    const states = await Promise.all([1, 2, 1, 3, 4].map((n) => stateOf(conn.query(insert, [n]))))
    t.check('pipeline.error', [states, await one(conn, `select array_agg(n order by n) as v from ${S}.pipe`)], [['no error', 'no error', '23505', 'no error', 'no error'], [1, 2, 3, 4]])
  })
}

async function copy() {
  await open([{}], async (conn) => {
    await conn.query(`create table ${S}.copied (n int, s text)`)
    const lines = Array.from({ length: ROWS }, (_, n) => `${n}\t${n % 10 ? `row ${n}` : '\\N'}\n`)
    const load = (data) => pipe(Readable.from(data), conn.query(copyStreams.from(`copy ${S}.copied from stdin`)))
    await load(lines)
    t.check('copy.in', await ask(conn, `select count(*)::int as c, count(s)::int as s, sum(n)::int as n from ${S}.copied`), { c: ROWS, s: (ROWS * 9) / 10, n: (ROWS * (ROWS - 1)) / 2 })
    const out = []
    await pipe(conn.query(copyStreams.to(`copy (select * from ${S}.copied order by n) to stdout`)), async (source) => {
      for await (const chunk of source) out.push(chunk)
    })
    t.check('copy.out', md5(Buffer.concat(out)), md5(lines.join('')))
    t.check('copy.bad', await stateOf(load(['x\ty\n'])), '22P02')
    t.check('copy.short', await stateOf(load(['1\n'])), '22P04')
    const broken = async function* () {
      yield '1\tx\n'
      throw new Error('the file is gone')
    }
    const gone = await load(broken()).catch((error) => error.message)
    t.check('copy.aborted', [gone, await one(conn, `select count(*)::int as v from ${S}.copied`)], ['the file is gone', ROWS])
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
  await open([{}, {}], async (conn, watcher) => {
    for (let round = 0; round < 3; round++) {
      const marker = `${S}_sleep_${round}`
      const query = new (require('pg').Query)(`select pg_sleep(60) /* ${marker} */`)
      const ended = new Promise((done) => query.on('error', (error) => done(error.code)).on('end', () => done('no error')))
      conn.query(query)
      await untilAsleep(watcher, marker)
      const messenger = new Client({ connectionString: t.url })
      messenger.connection.on('error', () => {}) // The server just hangs up on a cancel request.
      messenger.cancel(conn, query)
      t.check(`cancel.${round}`, await ended, '57014')
      t.check(`cancel.${round}.after`, await one(conn, 'select $1::int as v', [round]), round)
    }
  })
}

async function listen() {
  await open([{}, {}], async (conn, other) => {
    const channel = `${S}_news`
    const heard = []
    conn.on('notification', (news) => heard.push(news.payload))
    const take = async (count, patience = PATIENCE) => {
      for (const end = Date.now() + patience; heard.length < count && Date.now() < end; ) await pause(10)
      return heard.splice(0)
    }
    await conn.query(`listen ${channel}`)
    for (let n = 0; n < 3; n++) await other.query('select pg_notify($1, $2)', [channel, `message ${n} ü`])
    t.check('listen.from_other', await take(3), ['message 0 ü', 'message 1 ü', 'message 2 ü'])
    await conn.query(`begin; notify ${channel}, 'from myself'; commit`)
    t.check('listen.from_self', await take(1), ['from myself'])
    t.check('listen.still_usable', await one(conn, 'select 3 as v'), 3)
    await conn.query(`unlisten ${channel}`)
    await other.query(`notify ${channel}, 'nobody listens'`)
    t.check('listen.unlisten', await take(1, 300), [])
  })
}

async function settings() {
  const [noon, show] = ["select timestamptz '2024-01-01 00:00:00Z'::text as v", "select current_setting('application_name') as v"]
  const [zoneOf, limitOf] = ["select current_setting('TimeZone') as v", "select current_setting('statement_timeout') as v"]
  let zone
  await open([{ statement_timeout: 54321, options: '-c work_mem=5432' }, { application_name: 'other' }], async (conn, other) => {
    zone = await one(other, zoneOf)
    await conn.query(`set TimeZone = 'Asia/Tokyo'; set search_path = ${S}`)
    await conn.query('create table found as select 9 as n')
    for (let n = 0; n < 5; n++) {
      t.check(`settings.kept.${n}`, [await one(conn, noon), await one(conn, 'select n from found'), (await one(other, zoneOf)) === zone], ['2024-01-01 09:00:00+09', 9, true])
    }
    t.check('settings.search_path.other', await stateOf(other.query('select n from found')), '42P01')
    await conn.query('begin')
    await conn.query("set local TimeZone = 'America/New_York'")
    await conn.query("set application_name = 'rolled back'")
    t.check('settings.local', [await one(conn, noon), await one(conn, show)], ['2023-12-31 19:00:00-05', 'rolled back'])
    await conn.query('rollback')
    t.check('settings.rolled_back', [await one(conn, noon), await one(conn, show)], ['2024-01-01 09:00:00+09', 'pgweir-clients'])
    await conn.query('select set_config($1, $2, false)', ['application_name', 'by function'])
    t.check('settings.set_config', [await one(conn, show), await one(other, show)], ['by function', 'other'])
    t.check('settings.startup', [await one(conn, limitOf), await one(conn, "select current_setting('work_mem') as v")], ['54321ms', '5432kB'])
    await conn.query('set statement_timeout = 0')
    await conn.query('reset all')
    t.check('settings.reset_all', [await one(conn, show), await one(conn, limitOf), (await one(conn, zoneOf)) === zone], ['pgweir-clients', '54321ms', true])
  })
  await open([{}], async (conn) => t.check('settings.no_leak', [await one(conn, show), (await one(conn, zoneOf)) === zone], ['pgweir-clients', true]))
}

async function advisory() {
  const [attempt, unlock] = ['select pg_try_advisory_lock($1) as v', 'select pg_advisory_unlock($1) as v']
  const key = [t.lockKey]
  await open([{}], async (other) => {
    await open([{}], async (conn) => {
      await conn.query('select pg_advisory_lock($1)', key)
      t.check('advisory.held', [await one(other, attempt, key), await one(other, attempt, key)], [false, false])
      t.check('advisory.unlock', await one(conn, unlock, key), true)
      t.check('advisory.free', [await one(other, attempt, key), await one(other, unlock, key)], [true, true])
      await conn.query('select pg_advisory_lock($1)', key)
    })
    let free = false
    for (const end = Date.now() + PATIENCE; !free && Date.now() < end; await pause(20)) free = await one(other, attempt, key)
    t.check('advisory.released_by_close', free, true)
  })
}

async function temp() {
  const exists = "select to_regclass('pg_temp.scratch') is not null as v"
  await open([{}], async (other) => {
    await open([{}], async (conn) => {
      await conn.query('create temp table scratch (n int)')
      for (let n = 0; n < 5; n++) {
        await conn.query('insert into scratch values ($1)', [n])
        t.check(`temp.kept.${n}`, [await one(conn, 'select count(*)::int as v from scratch'), await one(other, exists)], [n + 1, false])
      }
    })
    await open([{}], async (again) => t.check('temp.gone', [await one(again, exists), await one(other, exists)], [false, false]))
  })
}

async function cursors() {
  await open([{}, {}], async (conn, other) => {
    await conn.query('begin; declare held cursor with hold for select g from generate_series(1, 10) g; commit')
    const got = []
    for (let n = 0; n < 3; n++) {
      got.push(...(await conn.query('fetch 4 from held')).rows.map((row) => row.g))
      await other.query('select 1')
    }
    t.check('cursors.with_hold', got, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    await conn.query('close held')
    // Outside a transaction: Execute with a row limit and Flush, the portal stays open until Sync.
    const cursor = conn.query(new Cursor('select g, md5(g::text) as d from generate_series(1, $1) g', [1000]))
    let right = 0
    for (let rows = await cursor.read(100); rows.length; rows = await cursor.read(100)) right += rows.filter((row) => row.d === md5(String(row.g))).length
    t.check('cursors.portal', right, 1000)
    const early = conn.query(new Cursor('select generate_series(1, 100000) as g'))
    t.check('cursors.read_a_few', (await early.read(3)).map((row) => row.g), [1, 2, 3])
    await early.close()
    t.check('cursors.closed_early', await one(conn, 'select 4 as v'), 4)
  })
}

async function many() {
  const wrong = []
  let done = 0
  await open([{}], (conn) => conn.query(`create table ${S}.lookup as select c * 1000 + n as id, format('owner %s/%s', c, n) as owner from generate_series(0, ${CLIENTS - 1}) c, generate_series(0, ${LOOKUPS - 1}) n`))
  const sql = `select $1::int as me, $2::int as n, current_setting('application_name') as name, owner from ${S}.lookup where id = $1::int * 1000 + $2::int`
  const client = (me) => open([{ application_name: `client ${me}` }], async (conn) => {
    for (let n = 0; n < LOOKUPS; n++) {
      const row = (await conn.query({ name: n % 2 ? 'lookup' : undefined, text: sql, values: [me, n] })).rows[0]
      if (row?.me !== me || row.n !== n || row.name !== `client ${me}` || row.owner !== `owner ${me}/${n}`) wrong.push(row)
      done++
    }
  })
  await Promise.all(Array.from({ length: CLIENTS }, (_, me) => client(me)))
  t.check('many.lookups', [done, wrong], [CLIENTS * LOOKUPS, []])
  const pool = new Pool({ connectionString: t.url, max: 3 })
  const got = await Promise.all(Array.from({ length: CLIENTS * 10 }, (_, n) => pool.query('select $1::int as v', [n])))
  t.check('many.pool', got.every(({ rows }, n) => rows[0].v === n), true)
  await pool.end()
}

async function main() {
  await open([{}], (conn) => conn.query(`create schema ${S}`))
  await t.run([types, nulls, big, errors, transactions, prepared, pipeline, copy, cancel, listen, settings, advisory, temp, cursors, many])
  await open([{}], (conn) => conn.query(`drop schema ${S} cascade`))
  t.finish()
}

main()
