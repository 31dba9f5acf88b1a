//! The integration tests: one binary, one private PostgreSQL that it starts itself, one file per subject.

// A panic is how a test reports; clippy's own exception covers #[test] functions but not their helpers.
#![allow(clippy::unwrap_used)]

mod cluster;
mod demo_cluster;
mod demo_sample;
mod differential;
#[path = "../transcripts/frames.rs"]
mod frames;
mod pgweir;
mod raw;
mod endings;
mod faults;
mod login;
mod operate;
mod rawclient;
mod support;
