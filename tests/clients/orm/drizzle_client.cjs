'use strict'
// Drizzle over node-postgres (stack `drizzle`). It has no lazy loads: loops are written by hand, as people do.
const { and, asc, count, desc, eq, exists, gt, inArray, isNotNull, sql } = require('drizzle-orm')
const { drizzle } = require('drizzle-orm/node-postgres')
const { relations } = require('drizzle-orm')
const { bigint, doublePrecision, integer, numeric, pgTable, text, timestamp, uuid } = require('drizzle-orm/pg-core')
const { Pool } = require('pg')
const { PAUSE, POLL, ORGANIZATIONS, SOURCES, sleep, run, tell } = require('./scenarios.cjs')

const organizations = pgTable('organizations', { id: integer('id').primaryKey(), name: text('name'), region: text('region') })
const facilities = pgTable('facilities', {
  id: integer('id').primaryKey(), organizationId: integer('organization_id'), name: text('name'), city: text('city')
})
const sources = pgTable('emission_sources', {
  id: integer('id').primaryKey(), facilityId: integer('facility_id'), name: text('name'), kind: text('kind')
})
const data = pgTable('emissions_data', {
  id: bigint('id', { mode: 'number' }).generatedByDefaultAsIdentity().primaryKey(),
  sourceId: integer('emission_source_id'),
  year: integer('year'),
  amount: doublePrecision('amount'),
  note: text('note')
})
const conversations = pgTable('conversations', {
  id: uuid('id').primaryKey(), organizationId: integer('organization_id'), title: text('title')
})
const messages = pgTable('messages', {
  id: bigint('id', { mode: 'number' }).primaryKey(),
  conversationId: uuid('conversation_id'),
  author: text('author'),
  body: text('body'),
  sentAt: timestamp('sent_at', { withTimezone: true })
})
const plants = pgTable('plants', { id: integer('id').primaryKey(), name: text('name') })
const meters = pgTable('meters', {
  id: bigint('id', { mode: 'number' }).primaryKey(), kind: text('kind'), factor: doublePrecision('factor')
})
const people = pgTable('people', {
  id: uuid('id').primaryKey(), email: text('email'), since: timestamp('since', { withTimezone: true })
})
const readings = pgTable('readings', {
  id: integer('id').primaryKey(),
  plantId: integer('plant_id'),
  meterId: bigint('meter_id', { mode: 'number' }),
  personId: uuid('person_id'),
  quantity: numeric('quantity')
})
const schema = {
  organizations,
  facilities,
  organizationRelations: relations(organizations, ({ many }) => ({ facilities: many(facilities) })),
  facilityRelations: relations(facilities, ({ one }) => ({
    organization: one(organizations, { fields: [facilities.organizationId], references: [organizations.id] })
  }))
}

function open (url, application) {
  const pool = new Pool({ connectionString: url, application_name: application, max: 16 })
  return Object.assign(drizzle(pool, { schema }), { pool })
}

const row = (at, note) => ({ sourceId: SOURCES[at % SOURCES.length], year: 2020 + at, amount: at * 0.5, note })
const withOrganization = isNotNull(facilities.organizationId)

run({
  // --- loops ---
  async belongs_to (db) {
    for (const facility of await db.select().from(facilities).orderBy(asc(facilities.name)).limit(30)) {
      if (facility.organizationId === null) continue
      await db.select().from(organizations).where(eq(organizations.id, facility.organizationId)).limit(1)
    }
  },
  async has_many (db) {
    for (const { id } of await db.select().from(organizations).orderBy(asc(organizations.name))) {
      await db.select().from(facilities).where(eq(facilities.organizationId, id))
    }
  },
  async count (db) {
    for (const { id } of await db.select().from(organizations).orderBy(asc(organizations.name))) {
      await db.$count(facilities, eq(facilities.organizationId, id))
    }
  },
  async exists (db) {
    const chosen = inArray(organizations.region, ['north', 'south'])
    for (const { id } of await db.select().from(organizations).where(chosen).orderBy(asc(organizations.name))) {
      await db.select({ id: conversations.id }).from(conversations).where(eq(conversations.organizationId, id)).limit(1)
    }
  },
  async latest (db) {
    for (const { id } of await db.select().from(conversations).orderBy(asc(conversations.title)).limit(25)) {
      await db.select().from(messages).where(eq(messages.conversationId, id)).orderBy(desc(messages.sentAt)).limit(1)
    }
  },
  async nested (db) {
    for (const organization of await db.select().from(organizations).orderBy(asc(organizations.name)).limit(8)) {
      for (const facility of await db.select().from(facilities).where(eq(facilities.organizationId, organization.id))) {
        for (const source of await db.select().from(sources).where(eq(sources.facilityId, facility.id))) {
          await db.select().from(data).where(eq(data.sourceId, source.id))
        }
      }
    }
  },
  async interleaved (db) {
    for (const facility of await db.select().from(facilities).where(withOrganization).orderBy(asc(facilities.name)).limit(15)) {
      await db.query.organizations.findFirst({ where: eq(organizations.id, facility.organizationId) })
      await db.select({ value: count() }).from(sources).where(eq(sources.facilityId, facility.id))
      await db.select().from(sources).where(eq(sources.facilityId, facility.id)).orderBy(desc(sources.name)).limit(1)
    }
  },
  async concurrent (db) {
    // The pool's connections are there before the crowd comes.
    await Promise.all(ORGANIZATIONS.slice(0, 16).map(() => db.execute(sql`select pg_sleep(0.3)`)))
    await sleep(300)
    await Promise.all(ORGANIZATIONS.slice(0, 16).map((id) =>
      db.select().from(conversations).where(eq(conversations.organizationId, id)).orderBy(asc(conversations.title)).limit(1)))
  },
  async redundant (db) {
    for (let at = 0; at < 12; at++) {
      await db.select().from(organizations).where(eq(organizations.id, ORGANIZATIONS[5])).limit(1)
    }
  },
  async write_autocommit (db, text) {
    for (let at = 0; at < 12; at++) await db.insert(data).values(row(at, text(at)))
  },
  async write_transaction (db, text) {
    await db.transaction(async (tx) => {
      for (let at = 0; at < 12; at++) await tx.insert(data).values(row(at, text(at))).returning()
    })
  },
  async update_loop (db) {
    await db.transaction(async (tx) => {
      for (const { id, amount } of await tx.select().from(data).where(eq(data.year, 2016)).orderBy(asc(data.id)).limit(15)) {
        await tx.update(data).set({ amount: amount + 1 }).where(eq(data.id, id))
      }
    })
  },
  async unique_check (db, text) {
    for (let at = 0; at < 12; at++) {
      const note = text(`unique ${at}`)
      const found = await db.select({ id: data.id }).from(data).where(eq(data.note, note)).limit(1)
      if (!found.length) await db.insert(data).values(row(at, note))
    }
  },
  // --- answers that are compared ---
  async page (db) {
    for (const reading of await db.select().from(readings).orderBy(asc(readings.id)).limit(50)) {
      const [plant] = await db.select().from(plants).where(eq(plants.id, reading.plantId)).limit(1)
      const [meter] = await db.select().from(meters).where(eq(meters.id, reading.meterId)).limit(1)
      const [person] = await db.select().from(people).where(eq(people.id, reading.personId)).limit(1)
      tell(reading.id, plant.name, meter.kind, meter.factor, person.email, person.since.toISOString(), reading.quantity)
    }
  },

  // --- look-alikes ---
  async ping (db) {
    for (let at = 0; at < 30; at++) await db.execute(sql`SELECT 1`)
  },
  async poller (db) {
    for (let at = 0; at < 12; at++) {
      await db.$count(messages, eq(messages.author, 'ann'))
      await sleep(POLL)
    }
  },
  async create_requests (db, text) {
    for (let at = 0; at < 8; at++) {
      const note = text(`request ${at}`)
      const found = await db.select({ id: data.id }).from(data).where(eq(data.note, note)).limit(1)
      if (!found.length) await db.insert(data).values(row(at, note))
      await sleep(PAUSE)
    }
  },
  async keyset (db) {
    let last = 0
    for (let page = 0; page < 14; page++) {
      const rows = await db.select().from(messages).where(gt(messages.id, last)).orderBy(asc(messages.id)).limit(10)
      last = rows[rows.length - 1].id
    }
  },
  async offset (db) {
    for (let page = 0; page < 14; page++) {
      await db.select().from(messages).orderBy(asc(messages.id)).limit(10).offset(page * 10)
    }
  },
  async prefetch (db) {
    await db.query.organizations.findMany({ with: { facilities: true }, orderBy: asc(organizations.name) })
  },
  async chunks (db) {
    const ids = (await db.select({ id: messages.id }).from(messages).orderBy(asc(messages.sentAt))).map(({ id }) => id)
    for (let at = 0; at < ids.length; at += 25) {
      await db.select().from(messages).where(inArray(messages.id, ids.slice(at, at + 25)))
    }
  },
  async bulk (db, text) {
    const rows = Array.from({ length: 100 }, (_, at) => row(at, text(`bulk ${at}`)))
    for (let at = 0; at < 100; at += 10) await db.insert(data).values(rows.slice(at, at + 10))
  },
  async few (db) {
    for (const facility of await db.select().from(facilities).where(withOrganization).orderBy(asc(facilities.name)).limit(3)) {
      await db.select().from(organizations).where(eq(organizations.id, facility.organizationId)).limit(1)
    }
  },
  async constants (db) {
    for (let year = 2015; year < 2019; year++) await db.$count(data, eq(data.year, year))
  },
  async independent (db) {
    for (const id of ORGANIZATIONS.slice(0, 12)) {
      await db.select().from(organizations).where(eq(organizations.id, id)).limit(1)
      await db.$count(conversations, eq(conversations.organizationId, id))
      await sleep(PAUSE)
    }
  },
  async joins (db) {
    await db.select().from(facilities).leftJoin(organizations, eq(facilities.organizationId, organizations.id))
  },
  async handful (db, text) {
    await db.transaction(async (tx) => {
      const [{ id }] = await tx.select().from(organizations).where(eq(organizations.id, ORGANIZATIONS[3])).limit(1)
      await tx.select({ value: count() }).from(facilities).where(eq(facilities.organizationId, id))
      await tx.select().from(conversations).where(eq(conversations.organizationId, id)).limit(5)
      const [made] = await tx.insert(data).values(row(3, text('handful'))).returning({ id: data.id })
      await tx.update(data).set({ note: text('changed') }).where(eq(data.id, made.id))
      await tx.select({ id: messages.id }).from(messages).where(and(eq(messages.author, 'bob'),
        exists(tx.select().from(conversations).where(eq(conversations.id, messages.conversationId))))).limit(1)
    })
  }
}, open, (db) => db.pool.end())
