// What both Node clients share: the transcript, the identity of queries, and the expected answers. It knows no driver.
// `result:` lines are what two runs are compared by, so nothing in them may differ from run to run.
'use strict'
const { createHash } = require('node:crypto')

const CLIENTS = Number(process.env.CLIENTS ?? 8)
const LOOKUPS = Number(process.env.LOOKUPS ?? 50)
const MEGABYTE = 1 << 20
const ROWS = 10_000
// Milliseconds that anything asynchronous (a cancel, a notification) may take before it counts as lost.
const PATIENCE = 20_000
const HAIRY = 'quote \' double " backslash \\ dollar $1 percent %s umlaut äöü emoji 🐘 tab\tnewline\nend'
const ALL_BYTES = Buffer.from(Array.from({ length: 256 }, (_, n) => n))

const pause = (ms) => new Promise((done) => setTimeout(done, ms))
const md5 = (data) => createHash('md5').update(data).digest('hex')

// `size` characters in which no part repeats soon, so that a lost or doubled piece changes the digest.
function bigText(size) {
  let text = ''
  for (let n = 0; text.length < size; n++) text += String(n).padStart(9, '0')
  return text.slice(0, size)
}

class Talk {
  constructor(driver) {
    const [url, mode] = process.argv.slice(2)
    if (!url || !['session', 'transaction'].includes(mode)) {
      console.error(`usage: ${process.argv[1]} URL session|transaction`)
      process.exit(2)
    }
    Object.assign(this, { url, mode, driver, schema: `c_${driver}_${process.pid}`, lockKey: process.pid * 1000, passed: 0, failed: 0, ids: 0 })
  }

  // Prints one line of the transcript and counts whether the answer is the expected one.
  check(name, got, want) {
    const [has, wants] = [JSON.stringify(got), JSON.stringify(want)]
    console.log(`result: ${name} = ${has}`)
    if (has === wants) this.passed++
    else this.failed++
    console.log(has === wants ? `ok ${name}` : `not ok ${name}: got ${has}, want ${wants}`)
  }

  note(text) {
    console.log(`note: ${text}`)
  }

  // A statement whose result type has changed may fail with 0A000 or answer anew; nothing else is right.
  afterDdl(name, got, fresh) {
    this.note(`${name}: ${JSON.stringify(got)}`)
    this.check(name, got === '0A000' || got === fresh ? '0A000 or fresh' : got, '0A000 or fresh')
  }

  // The query with its own identity as first column.
  tagged(sql) {
    const qid = ++this.ids
    return { qid, text: `select ${qid} as qid, q.* from (${sql}) q` }
  }

  // The row without its identity; any other query's row ends the section.
  mine(qid, row) {
    const { qid: seen, ...rest } = row
    if (Number(seen) !== qid) throw new Error(`query ${qid} was given the answer of query ${seen}`)
    return rest
  }

  async run(sections) {
    for (const section of sections) {
      try {
        await section()
      } catch (error) {
        this.failed++
        console.log(`not ok ${section.name}: ${error.stack}`)
      }
    }
  }

  finish() {
    console.log(`${this.passed} passed, ${this.failed} failed`)
    process.exit(this.failed ? 1 : 0)
  }
}

module.exports = { ALL_BYTES, CLIENTS, HAIRY, LOOKUPS, MEGABYTE, PATIENCE, ROWS, Talk, bigText, md5, pause }
