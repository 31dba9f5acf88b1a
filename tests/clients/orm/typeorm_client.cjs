'use strict'
// TypeORM with lazy relations (stack `typeorm`).
require('reflect-metadata')
const { DataSource, EntitySchema, In, IsNull, MoreThan, Not } = require('typeorm')
const { PAUSE, POLL, ORGANIZATIONS, SOURCES, sleep, run, tell } = require('./scenarios.cjs')

const key = (type, more = {}) => ({ type, primary: true, ...more })
const column = (type) => ({ type })
const schema = (name, tableName, columns, relations = {}) => new EntitySchema({ name, tableName, columns, relations })
const oneToMany = (target, inverseSide) => ({ type: 'one-to-many', target, inverseSide, lazy: true })
const manyToOne = (target, joinColumn, inverseSide) =>
  ({ type: 'many-to-one', target, joinColumn: { name: joinColumn }, inverseSide, lazy: true })
const entities = [
  schema('Organization', 'organizations', { id: key('int'), name: column('text'), region: column('text') }, {
    facilities: oneToMany('Facility', 'organization'), conversations: oneToMany('Conversation', 'organization')
  }),
  schema('Facility', 'facilities', {
    id: key('int'), name: column('text'), city: column('text'), organization_id: { type: 'int', nullable: true }
  }, {
    organization: manyToOne('Organization', 'organization_id', 'facilities'), sources: oneToMany('Source', 'facility')
  }),
  schema('Source', 'emission_sources', { id: key('int'), name: column('text'), kind: column('text') }, {
    facility: manyToOne('Facility', 'facility_id', 'sources'), data: oneToMany('Data', 'source')
  }),
  schema('Data', 'emissions_data', {
    id: key('bigint', { generated: 'increment' }),
    emission_source_id: column('int'),
    year: column('int'),
    amount: column('double precision'),
    note: column('text')
  }, { source: manyToOne('Source', 'emission_source_id', 'data') }),
  schema('Conversation', 'conversations', {
    id: key('uuid'), organization_id: column('int'), title: column('text')
  }, {
    organization: manyToOne('Organization', 'organization_id', 'conversations'), messages: oneToMany('Message', 'conversation')
  }),
  schema('Message', 'messages', {
    id: key('bigint'), conversation_id: column('uuid'), author: column('text'), body: column('text'), sent_at: column('timestamptz')
  }, { conversation: manyToOne('Conversation', 'conversation_id', 'messages') }),
  schema('Plant', 'plants', { id: key('int'), name: column('text') }),
  schema('Meter', 'meters', { id: key('bigint'), kind: column('text'), factor: column('double precision') }),
  schema('Person', 'people', { id: key('uuid'), email: column('text'), since: column('timestamptz') }),
  schema('Reading', 'readings', { id: key('int'), quantity: column('numeric') }, {
    plant: manyToOne('Plant', 'plant_id'), meter: manyToOne('Meter', 'meter_id'), person: manyToOne('Person', 'person_id')
  })
]

const open = (url, application) =>
  new DataSource({ type: 'postgres', url, entities, applicationName: application, poolSize: 16 }).initialize()

const row = (at, note) => ({ emission_source_id: SOURCES[at % SOURCES.length], year: 2020 + at, amount: at * 0.5, note })

run({
  // --- loops ---
  async belongs_to (db) {
    for (const facility of await db.getRepository('Facility').find({ order: { name: 'ASC' }, take: 30 })) {
      await facility.organization
    }
  },
  async has_many (db) {
    for (const organization of await db.getRepository('Organization').find({ order: { name: 'ASC' } })) {
      await organization.facilities
    }
  },
  async count (db) {
    for (const { id } of await db.getRepository('Organization').find({ order: { name: 'ASC' } })) {
      await db.getRepository('Facility').countBy({ organization_id: id })
    }
  },
  async exists (db) {
    const chosen = { where: { region: In(['north', 'south']) }, order: { name: 'ASC' } }
    for (const { id } of await db.getRepository('Organization').find(chosen)) {
      await db.getRepository('Conversation').existsBy({ organization_id: id })
    }
  },
  async latest (db) {
    for (const { id } of await db.getRepository('Conversation').find({ order: { title: 'ASC' }, take: 25 })) {
      await db.getRepository('Message').findOne({ where: { conversation_id: id }, order: { sent_at: 'DESC' } })
    }
  },
  async nested (db) {
    for (const organization of await db.getRepository('Organization').find({ order: { name: 'ASC' }, take: 8 })) {
      for (const facility of await organization.facilities) {
        for (const source of await facility.sources) await source.data
      }
    }
  },
  async interleaved (db) {
    const chosen = { where: { organization_id: Not(IsNull()) }, order: { name: 'ASC' }, take: 15 }
    for (const facility of await db.getRepository('Facility').find(chosen)) {
      await facility.organization
      await db.getRepository('Source').countBy({ facility: { id: facility.id } })
      await db.getRepository('Source').findOne({ where: { facility: { id: facility.id } }, order: { name: 'DESC' } })
    }
  },
  async concurrent (db) {
    // The pool's connections are there before the crowd comes.
    await Promise.all(ORGANIZATIONS.slice(0, 16).map(() => db.query('SELECT pg_sleep(0.3)')))
    await sleep(300)
    await Promise.all(ORGANIZATIONS.slice(0, 16).map((id) =>
      db.getRepository('Conversation').findOne({ where: { organization_id: id }, order: { title: 'ASC' } })))
  },
  async redundant (db) {
    for (let at = 0; at < 12; at++) await db.getRepository('Organization').findOneBy({ id: ORGANIZATIONS[5] })
  },
  async write_autocommit (db, text) {
    for (let at = 0; at < 12; at++) await db.getRepository('Data').save(row(at, text(at)))
  },
  async write_transaction (db, text) {
    await db.transaction(async (manager) => {
      for (let at = 0; at < 12; at++) await manager.save('Data', row(at, text(at)))
    })
  },
  async update_loop (db) {
    await db.transaction(async (manager) => {
      for (const data of await manager.find('Data', { where: { year: 2016 }, order: { id: 'ASC' }, take: 15 })) {
        data.amount += 1
        await manager.save('Data', data)
      }
    })
  },
  async unique_check (db, text) {
    for (let at = 0; at < 12; at++) {
      const note = text(`unique ${at}`)
      if (!await db.getRepository('Data').findOneBy({ note })) await db.getRepository('Data').save(row(at, note))
    }
  },
  // --- answers that are compared ---
  async page (db) {
    for (const reading of await db.getRepository('Reading').find({ order: { id: 'ASC' }, take: 50 })) {
      const [plant, meter, person] = [await reading.plant, await reading.meter, await reading.person]
      tell(reading.id, plant.name, meter.kind, meter.factor, person.email, person.since.toISOString(), reading.quantity)
    }
  },

  // --- look-alikes ---
  async ping (db) {
    for (let at = 0; at < 30; at++) await db.query('SELECT 1')
  },
  async poller (db) {
    for (let at = 0; at < 12; at++) {
      await db.getRepository('Message').countBy({ author: 'ann' })
      await sleep(POLL)
    }
  },
  async create_requests (db, text) {
    for (let at = 0; at < 8; at++) {
      const note = text(`request ${at}`)
      if (!await db.getRepository('Data').findOneBy({ note })) await db.getRepository('Data').save(row(at, note))
      await sleep(PAUSE)
    }
  },
  async keyset (db) {
    let last = 0
    for (let page = 0; page < 14; page++) {
      const rows = await db.getRepository('Message').find({ where: { id: MoreThan(last) }, order: { id: 'ASC' }, take: 10 })
      last = rows[rows.length - 1].id
    }
  },
  async offset (db) {
    for (let page = 0; page < 14; page++) {
      await db.getRepository('Message').find({ order: { id: 'ASC' }, take: 10, skip: page * 10 })
    }
  },
  async prefetch (db) {
    // TypeORM joins by default; this is its way with one query per relation.
    await db.getRepository('Organization').find({
      order: { name: 'ASC' }, relations: { facilities: { sources: true } }, relationLoadStrategy: 'query'
    })
  },
  async chunks (db) {
    const ids = (await db.getRepository('Message').find({ select: { id: true }, order: { sent_at: 'ASC' } })).map(({ id }) => id)
    for (let at = 0; at < ids.length; at += 25) {
      await db.getRepository('Message').findBy({ id: In(ids.slice(at, at + 25)) })
    }
  },
  async bulk (db, text) {
    const rows = Array.from({ length: 100 }, (_, at) => row(at, text(`bulk ${at}`)))
    for (let at = 0; at < 100; at += 10) await db.getRepository('Data').insert(rows.slice(at, at + 10))
  },
  async few (db) {
    const chosen = { where: { organization_id: Not(IsNull()) }, order: { name: 'ASC' }, take: 3 }
    for (const facility of await db.getRepository('Facility').find(chosen)) await facility.organization
  },
  async constants (db) {
    for (let year = 2015; year < 2019; year++) await db.getRepository('Data').countBy({ year })
  },
  async independent (db) {
    for (const id of ORGANIZATIONS.slice(0, 12)) {
      await db.getRepository('Organization').findOneBy({ id })
      await db.getRepository('Conversation').countBy({ organization_id: id })
      await sleep(PAUSE)
    }
  },
  async joins (db) {
    await db.getRepository('Facility').find({ relations: { organization: true }, order: { name: 'ASC' } })
  },
  async handful (db, text) {
    await db.transaction(async (manager) => {
      const { id } = await manager.findOneBy('Organization', { id: ORGANIZATIONS[3] })
      await manager.countBy('Facility', { organization_id: id })
      await manager.find('Conversation', { where: { organization_id: id }, take: 5 })
      const data = await manager.save('Data', row(3, text('handful')))
      await manager.update('Data', { id: data.id }, { note: text('changed') })
      await manager.existsBy('Message', { author: 'bob' })
    })
  }
}, open, (db) => db.destroy())
