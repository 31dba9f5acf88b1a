//! The `pgweir` program: hands its arguments to `cli` and maps the outcome to an exit code.

fn main() -> std::process::ExitCode {
    pgweir::cli::main()
}
