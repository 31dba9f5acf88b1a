//! The integration tests: one binary, one private PostgreSQL that it starts itself, one file per subject.

mod cluster;
mod demo_cluster;
mod demo_sample;
