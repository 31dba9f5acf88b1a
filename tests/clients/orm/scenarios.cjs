'use strict'
// What the Node programs here share: how scenarios are named, chosen and run. Knows no library.
const PAUSE = 120
const POLL = 200
const ORGANIZATIONS = Array.from({ length: 20 }, (_, n) => 100 + ((n + 1) * 389) % 997)
const SOURCES = Array.from({ length: 100 }, (_, n) => 10000 + ((n + 1) * 1009) % 9973)

// A line of an answer that is compared.
const tell = (...cells) => console.log(['row', ...cells].map(String).join(' '))

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// Arguments: base URL (no database), stack, scenarios (default: all). `open(url, application)` gives what the
// scenarios are called with, `close` ends it. The exit code tells whether all went well.
async function run (scenarios, open, close) {
  const [base, stack, ...wanted] = process.argv.slice(2)
  let failed = false
  for (const name of wanted.length ? wanted : Object.keys(scenarios)) {
    try {
      const db = await open(`${base}/${stack}__${name}`, `orm/${stack}/${name}`)
      await scenarios[name](db, (text) => `${stack} ${text}`)
      await close(db)
      console.log(`done ${name}`)
    } catch (error) {
      failed = true
      console.error(error)
      console.log(`failed ${name}`)
    }
  }
  process.exit(failed ? 1 : 0)
}

module.exports = { PAUSE, POLL, ORGANIZATIONS, SOURCES, sleep, run, tell }
