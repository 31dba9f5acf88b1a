//! Work on a real database on somebody's behalf: advice that is made with its planner, and acts under a rule or
//! a command. Knows connections by way of `probe`; serves no client.

pub mod index;
