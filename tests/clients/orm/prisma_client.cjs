'use strict'
// Prisma with its driver adapter for node-postgres (stack `prisma`). It has no lazy loads: loops are written by
// hand, or with the fluent API, as people do.
const { PrismaPg } = require('@prisma/adapter-pg')
const { PrismaClient } = require('../.cache/orm/prisma')
const { PAUSE, POLL, ORGANIZATIONS, SOURCES, sleep, run, tell } = require('./scenarios.cjs')

const open = (url, application) =>
  new PrismaClient({ adapter: new PrismaPg({ connectionString: url, application_name: application, max: 16 }) })

const row = (at, note) => ({ emission_source_id: SOURCES[at % SOURCES.length], year: 2020 + at, amount: at * 0.5, note })

run({
  // --- loops ---
  async belongs_to (db) {
    for (const facility of await db.facilities.findMany({ orderBy: { name: 'asc' }, take: 30 })) {
      if (facility.organization_id === null) continue
      await db.organizations.findUnique({ where: { id: facility.organization_id } })
    }
  },
  async has_many (db) {
    for (const { id } of await db.organizations.findMany({ orderBy: { name: 'asc' } })) {
      await db.facilities.findMany({ where: { organization_id: id } })
    }
  },
  async count (db) {
    for (const { id } of await db.organizations.findMany({ orderBy: { name: 'asc' } })) {
      await db.facilities.count({ where: { organization_id: id } })
    }
  },
  async exists (db) {
    const chosen = { where: { region: { in: ['north', 'south'] } }, orderBy: { name: 'asc' } }
    for (const { id } of await db.organizations.findMany(chosen)) {
      await db.conversations.findFirst({ where: { organization_id: id }, select: { id: true } })
    }
  },
  async latest (db) {
    for (const { id } of await db.conversations.findMany({ orderBy: { title: 'asc' }, take: 25 })) {
      await db.messages.findFirst({ where: { conversation_id: id }, orderBy: { sent_at: 'desc' } })
    }
  },
  async nested (db) {
    for (const organization of await db.organizations.findMany({ orderBy: { name: 'asc' }, take: 8 })) {
      for (const facility of await db.facilities.findMany({ where: { organization_id: organization.id } })) {
        for (const source of await db.emission_sources.findMany({ where: { facility_id: facility.id } })) {
          await db.emissions_data.findMany({ where: { emission_source_id: source.id } })
        }
      }
    }
  },
  async interleaved (db) {
    const chosen = { where: { organization_id: { not: null } }, orderBy: { name: 'asc' }, take: 15 }
    for (const facility of await db.facilities.findMany(chosen)) {
      await db.organizations.findUnique({ where: { id: facility.organization_id } })
      await db.emission_sources.count({ where: { facility_id: facility.id } })
      await db.emission_sources.findFirst({ where: { facility_id: facility.id }, orderBy: { name: 'desc' } })
    }
  },
  async concurrent (db) {
    // The pool's connections are there before the crowd comes.
    await Promise.all(ORGANIZATIONS.slice(0, 16).map(() => db.$queryRaw`SELECT pg_sleep(0.3)::text`))
    await sleep(300)
    await Promise.all(ORGANIZATIONS.slice(0, 16).map((id) =>
      db.conversations.findFirst({ where: { organization_id: id }, orderBy: { title: 'asc' } })))
  },
  async redundant (db) {
    for (let at = 0; at < 12; at++) await db.organizations.findUnique({ where: { id: ORGANIZATIONS[5] } })
  },
  async write_autocommit (db, text) {
    for (let at = 0; at < 12; at++) await db.emissions_data.create({ data: row(at, text(at)) })
  },
  async write_transaction (db, text) {
    await db.$transaction(async (tx) => {
      for (let at = 0; at < 12; at++) await tx.emissions_data.create({ data: row(at, text(at)) })
    })
  },
  async update_loop (db) {
    await db.$transaction(async (tx) => {
      for (const { id, amount } of await tx.emissions_data.findMany({ where: { year: 2016 }, orderBy: { id: 'asc' }, take: 15 })) {
        await tx.emissions_data.update({ where: { id }, data: { amount: amount + 1 } })
      }
    })
  },
  async unique_check (db, text) {
    for (let at = 0; at < 12; at++) {
      const note = text(`unique ${at}`)
      if (!await db.emissions_data.findFirst({ where: { note } })) await db.emissions_data.create({ data: row(at, note) })
    }
  },
  // --- answers that are compared ---
  async page (db) {
    for (const reading of await db.readings.findMany({ orderBy: { id: 'asc' }, take: 50 })) {
      const plant = await db.plants.findUnique({ where: { id: reading.plant_id } })
      const meter = await db.meters.findUnique({ where: { id: reading.meter_id } })
      const person = await db.people.findUnique({ where: { id: reading.person_id } })
      tell(reading.id, plant.name, meter.kind, meter.factor, person.email, person.since.toISOString(), reading.quantity)
    }
  },

  // --- look-alikes ---
  async ping (db) {
    for (let at = 0; at < 30; at++) await db.$queryRaw`SELECT 1`
  },
  async poller (db) {
    for (let at = 0; at < 12; at++) {
      await db.messages.count({ where: { author: 'ann' } })
      await sleep(POLL)
    }
  },
  async create_requests (db, text) {
    for (let at = 0; at < 8; at++) {
      const note = text(`request ${at}`)
      if (!await db.emissions_data.findFirst({ where: { note } })) await db.emissions_data.create({ data: row(at, note) })
      await sleep(PAUSE)
    }
  },
  async keyset (db) {
    let last = 0n
    for (let page = 0; page < 14; page++) {
      const rows = await db.messages.findMany({ where: { id: { gt: last } }, orderBy: { id: 'asc' }, take: 10 })
      last = rows[rows.length - 1].id
    }
  },
  async cursor (db) {
    // Prisma's own way to page.
    let last
    for (let page = 0; page < 14; page++) {
      const more = last === undefined ? {} : { cursor: { id: last }, skip: 1 }
      const rows = await db.messages.findMany({ orderBy: { id: 'asc' }, take: 10, ...more })
      last = rows[rows.length - 1].id
    }
  },
  async offset (db) {
    for (let page = 0; page < 14; page++) {
      await db.messages.findMany({ orderBy: { id: 'asc' }, take: 10, skip: page * 10 })
    }
  },
  async prefetch (db) {
    await db.organizations.findMany({ orderBy: { name: 'asc' }, include: { facilities: { include: { sources: true } } } })
  },
  async chunks (db) {
    const ids = (await db.messages.findMany({ select: { id: true }, orderBy: { sent_at: 'asc' } })).map(({ id }) => id)
    for (let at = 0; at < ids.length; at += 25) {
      await db.messages.findMany({ where: { id: { in: ids.slice(at, at + 25) } } })
    }
  },
  async loader (db) {
    // Calls of one tick become one query by themselves.
    const rows = await db.facilities.findMany({ where: { organization_id: { not: null } }, orderBy: { name: 'asc' } })
    for (let at = 0; at < 50; at += 10) {
      await Promise.all(rows.slice(at, at + 10).map(({ organization_id: id }) => db.organizations.findUnique({ where: { id } })))
    }
  },
  async bulk (db, text) {
    const rows = Array.from({ length: 100 }, (_, at) => row(at, text(`bulk ${at}`)))
    for (let at = 0; at < 100; at += 10) await db.emissions_data.createMany({ data: rows.slice(at, at + 10) })
  },
  async few (db) {
    const chosen = { where: { organization_id: { not: null } }, orderBy: { name: 'asc' }, take: 3 }
    for (const { organization_id: id } of await db.facilities.findMany(chosen)) await db.organizations.findUnique({ where: { id } })
  },
  async constants (db) {
    for (let year = 2015; year < 2019; year++) await db.emissions_data.count({ where: { year } })
  },
  async independent (db) {
    for (const id of ORGANIZATIONS.slice(0, 12)) {
      await db.organizations.findUnique({ where: { id } })
      await db.conversations.count({ where: { organization_id: id } })
      await sleep(PAUSE)
    }
  },
  async joins (db) {
    await db.facilities.findMany({ include: { organization: true }, orderBy: { name: 'asc' } })
  },
  async handful (db, text) {
    await db.$transaction(async (tx) => {
      const { id } = await tx.organizations.findUnique({ where: { id: ORGANIZATIONS[3] } })
      await tx.facilities.count({ where: { organization_id: id } })
      await tx.conversations.findMany({ where: { organization_id: id }, take: 5 })
      const made = await tx.emissions_data.create({ data: row(3, text('handful')) })
      await tx.emissions_data.update({ where: { id: made.id }, data: { note: text('changed') } })
      await tx.messages.findFirst({ where: { author: 'bob' } })
    })
  }
}, open, (db) => db.$disconnect())
