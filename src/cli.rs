//! The command line. Parses arguments, calls the rooms, prints; decides nothing itself.

/// Parses the arguments of the process and runs the command that they name.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
