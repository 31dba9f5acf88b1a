//! The integration tests: one binary, one private PostgreSQL that it starts itself, one file per subject.

// A panic is how a test reports; clippy's own exception covers #[test] functions but not their helpers.
#![allow(clippy::unwrap_used)]

mod abandoned;
mod advice;
mod ahead;
mod anomalies;
mod catalog;
mod cluster;
mod coalesce;
mod conversations;
mod demo_cluster;
mod demo_sample;
mod differential;
mod doors;
mod driven;
mod drivers;
mod eligible;
mod endings;
mod facts;
mod faults;
#[path = "../transcripts/frames.rs"]
mod frames;
mod inserts;
mod inserts_deferred;
mod inserts_failed;
mod inserts_random;
mod inserts_refused;
mod kept;
mod ledger;
mod lexer;
mod login;
mod nplus1;
mod operate;
mod orm_loops;
mod partitions;
mod pgweir;
mod probing;
mod queues;
mod raw;
mod rawclient;
mod replay;
mod routing;
mod rules;
mod slow_log;
mod small;
mod support;
mod writes;
