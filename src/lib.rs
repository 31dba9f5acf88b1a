//! pgweir, a PostgreSQL proxy. This file is the map: modules in reading order, floor by floor.
//! A module imports only from the floors below it; `tests/tidy.rs` holds the same order as data.
//!
//! 1. `error`: whose fault something is, and what a client may read of it;
//!    `catalog`: what is known of a database, a snapshot (pure).
//! 2. `wire`, `sql`: the language on the cable and the language in the messages (pure).
//!    `auth`: proofs of identity (pure); `net`: byte streams and their buffers; `tls`: certificates, trust.
//! 3. `pool`: server connections; `observe`: counters, histograms, the ledger, metrics, logs;
//!    `coalesce`: loops of statements, watched; one query for many (pure); `route`: statements on partitioned tables,
//!    narrowed (pure).
//! 4. `session`: one client's conversation, without sockets or clocks (pure);
//!    `advise`: which indexes would serve the statements (pure);
//!    `probe`: pgweir's own questions to the database.
//! 5. `maintain`: advice for a real database, and acting on it, under rules, audited.
//! 6. `config`: pgweir.yaml, gathered from the rooms' own settings; `admin`: the HTTP surface.
//! 7. `proxy`: the shell that moves bytes.
//! 8. `demo`: a throw-away PostgreSQL, sample data, the tour.
//! 9. `cli`: the command line.

pub mod catalog;
pub mod error;

pub mod auth;
pub mod net;
pub mod sql;
pub mod tls;
pub mod wire;

pub mod coalesce;
pub mod observe;
pub mod pool;
pub mod route;

pub mod advise;
pub mod probe;
pub mod session;

pub mod maintain;

pub mod admin;
pub mod config;

pub mod proxy;

pub mod demo;

pub mod cli;
