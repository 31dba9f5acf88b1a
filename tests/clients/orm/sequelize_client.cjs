'use strict'
// Sequelize 6 (stack `sequelize`).
const { Sequelize, DataTypes, Op } = require('sequelize')
const { PAUSE, POLL, ORGANIZATIONS, SOURCES, sleep, run, tell } = require('./scenarios.cjs')

function open (url, application) {
  const db = new Sequelize(url, {
    logging: false, dialectOptions: { application_name: application }, pool: { max: 16 }, define: { timestamps: false }
  })
  const id = (type) => ({ type, primaryKey: true })
  const { INTEGER, BIGINT, UUID, TEXT, DOUBLE, DATE } = DataTypes
  const Organization = db.define('Organization', { id: id(INTEGER), name: TEXT, region: TEXT }, { tableName: 'organizations' })
  const Facility = db.define('Facility', { id: id(INTEGER), name: TEXT, city: TEXT }, { tableName: 'facilities' })
  const Source = db.define('Source', { id: id(INTEGER), name: TEXT, kind: TEXT }, { tableName: 'emission_sources' })
  const Data = db.define('Data', {
    id: { type: BIGINT, primaryKey: true, autoIncrement: true }, year: INTEGER, amount: DOUBLE, note: TEXT
  }, { tableName: 'emissions_data' })
  const Conversation = db.define('Conversation', { id: id(UUID), title: TEXT }, { tableName: 'conversations' })
  const Message = db.define('Message', { id: id(BIGINT), author: TEXT, body: TEXT, sent_at: DATE }, { tableName: 'messages' })
  Organization.hasMany(Facility, { as: 'facilities', foreignKey: 'organization_id' })
  Facility.belongsTo(Organization, { as: 'organization', foreignKey: 'organization_id' })
  Facility.hasMany(Source, { as: 'sources', foreignKey: 'facility_id' })
  Source.hasMany(Data, { as: 'data', foreignKey: 'emission_source_id' })
  Data.belongsTo(Source, { as: 'source', foreignKey: 'emission_source_id' })
  Organization.hasMany(Conversation, { as: 'conversations', foreignKey: 'organization_id' })
  Conversation.hasMany(Message, { as: 'messages', foreignKey: 'conversation_id' })
  const Plant = db.define('Plant', { id: id(INTEGER), name: TEXT }, { tableName: 'plants' })
  const Meter = db.define('Meter', { id: id(BIGINT), kind: TEXT, factor: DOUBLE }, { tableName: 'meters' })
  const Person = db.define('Person', { id: id(UUID), email: TEXT, since: DATE }, { tableName: 'people' })
  const Reading = db.define('Reading', { id: id(INTEGER), quantity: DataTypes.DECIMAL(12, 3) }, { tableName: 'readings' })
  Reading.belongsTo(Plant, { as: 'plant', foreignKey: 'plant_id' })
  Reading.belongsTo(Meter, { as: 'meter', foreignKey: 'meter_id' })
  Reading.belongsTo(Person, { as: 'person', foreignKey: 'person_id' })
  return { db, Organization, Facility, Source, Data, Conversation, Message, Reading }
}

const row = (at, note) => ({ emission_source_id: SOURCES[at % SOURCES.length], year: 2020 + at, amount: at * 0.5, note })

run({
  // --- loops ---
  async belongs_to ({ Facility }) {
    for (const facility of await Facility.findAll({ order: ['name'], limit: 30 })) {
      if (facility.organization_id !== null) await facility.getOrganization()
    }
  },
  async has_many ({ Organization }) {
    for (const organization of await Organization.findAll({ order: ['name'] })) await organization.getFacilities()
  },
  async count ({ Organization }) {
    for (const organization of await Organization.findAll({ order: ['name'] })) await organization.countFacilities()
  },
  async exists ({ Organization, Conversation }) {
    const chosen = { where: { region: ['north', 'south'] }, order: ['name'] }
    for (const { id } of await Organization.findAll(chosen)) {
      await Conversation.findOne({ attributes: ['id'], where: { organization_id: id } })
    }
  },
  async latest ({ Conversation }) {
    for (const conversation of await Conversation.findAll({ order: ['title'], limit: 25 })) {
      await conversation.getMessages({ order: [['sent_at', 'DESC']], limit: 1 })
    }
  },
  async nested ({ Organization }) {
    for (const organization of await Organization.findAll({ order: ['name'], limit: 8 })) {
      for (const facility of await organization.getFacilities()) {
        for (const source of await facility.getSources()) await source.getData()
      }
    }
  },
  async interleaved ({ Facility }) {
    const chosen = { where: { organization_id: { [Op.ne]: null } }, order: ['name'], limit: 15 }
    for (const facility of await Facility.findAll(chosen)) {
      await facility.getOrganization()
      await facility.countSources()
      await facility.getSources({ order: [['name', 'DESC']], limit: 1 })
    }
  },
  async concurrent ({ db, Conversation }) {
    // The pool's connections are there before the crowd comes.
    await Promise.all(ORGANIZATIONS.slice(0, 16).map(() => db.query('SELECT pg_sleep(0.3)')))
    await sleep(300)
    await Promise.all(ORGANIZATIONS.slice(0, 16).map((id) =>
      Conversation.findOne({ where: { organization_id: id }, order: ['title'] })))
  },
  async redundant ({ Organization }) {
    for (let at = 0; at < 12; at++) await Organization.findByPk(ORGANIZATIONS[5])
  },
  async write_autocommit ({ Data }, text) {
    for (let at = 0; at < 12; at++) await Data.create(row(at, text(at)))
  },
  async write_transaction ({ db, Data }, text) {
    await db.transaction(async (transaction) => {
      for (let at = 0; at < 12; at++) await Data.create(row(at, text(at)), { transaction })
    })
  },
  async update_loop ({ db, Data }) {
    await db.transaction(async (transaction) => {
      for (const data of await Data.findAll({ where: { year: 2016 }, order: ['id'], limit: 15, transaction })) {
        data.amount += 1
        await data.save({ transaction })
      }
    })
  },
  async unique_check ({ Data }, text) {
    for (let at = 0; at < 12; at++) {
      const note = text(`unique ${at}`)
      if (!await Data.findOne({ where: { note } })) await Data.create(row(at, note))
    }
  },
  // --- answers that are compared ---
  async page ({ Reading }) {
    for (const reading of await Reading.findAll({ order: ['id'], limit: 50 })) {
      const plant = await reading.getPlant()
      const meter = await reading.getMeter()
      const person = await reading.getPerson()
      tell(reading.id, plant.name, meter.kind, meter.factor, person.email, person.since.toISOString(), reading.quantity)
    }
  },

  // --- look-alikes ---
  async ping ({ db }) {
    for (let at = 0; at < 30; at++) await db.query('SELECT 1')
  },
  async poller ({ Message }) {
    for (let at = 0; at < 12; at++) {
      await Message.count({ where: { author: 'ann' } })
      await sleep(POLL)
    }
  },
  async create_requests ({ Data }, text) {
    for (let at = 0; at < 8; at++) {
      const note = text(`request ${at}`)
      if (!await Data.findOne({ where: { note } })) await Data.create(row(at, note))
      await sleep(PAUSE)
    }
  },
  async keyset ({ Message }) {
    let last = 0
    for (let page = 0; page < 14; page++) {
      const rows = await Message.findAll({ where: { id: { [Op.gt]: last } }, order: ['id'], limit: 10 })
      last = rows[rows.length - 1].id
    }
  },
  async offset ({ Message }) {
    for (let page = 0; page < 14; page++) await Message.findAll({ order: ['id'], limit: 10, offset: page * 10 })
  },
  async prefetch ({ Organization }) {
    const include = { association: 'facilities', separate: true, include: { association: 'sources', separate: true } }
    await Organization.findAll({ order: ['name'], include })
  },
  async chunks ({ Message }) {
    const ids = (await Message.findAll({ attributes: ['id'], order: ['sent_at'] })).map((message) => message.id)
    for (let at = 0; at < ids.length; at += 25) await Message.findAll({ where: { id: ids.slice(at, at + 25) } })
  },
  async bulk ({ Data }, text) {
    for (let at = 0; at < 100; at += 10) {
      await Data.bulkCreate(Array.from({ length: 10 }, (_, n) => row(at + n, text(`bulk ${at + n}`))))
    }
  },
  async few ({ Facility }) {
    const chosen = { where: { organization_id: { [Op.ne]: null } }, order: ['name'], limit: 3 }
    for (const facility of await Facility.findAll(chosen)) await facility.getOrganization()
  },
  async constants ({ Data }) {
    for (let year = 2015; year < 2019; year++) await Data.count({ where: { year } })
  },
  async independent ({ Organization, Conversation }) {
    for (const id of ORGANIZATIONS.slice(0, 12)) {
      await Organization.findByPk(id)
      await Conversation.count({ where: { organization_id: id } })
      await sleep(PAUSE)
    }
  },
  async joins ({ Facility }) {
    await Facility.findAll({ include: 'organization', order: ['name'] })
  },
  async handful ({ db, Organization, Facility, Conversation, Data, Message }, text) {
    await db.transaction(async (transaction) => {
      const { id } = await Organization.findByPk(ORGANIZATIONS[3], { transaction })
      await Facility.count({ where: { organization_id: id }, transaction })
      await Conversation.findAll({ where: { organization_id: id }, limit: 5, transaction })
      const data = await Data.create(row(3, text('handful')), { transaction })
      await data.update({ note: text('changed') }, { transaction })
      await Message.findOne({ where: { author: 'bob' }, transaction })
    })
  }
}, open, ({ db }) => db.close())
