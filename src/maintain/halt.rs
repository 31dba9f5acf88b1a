//! Named places at which a test may end the process as a crash would. Compiled into debug builds only.

/// The variable that names the place.
#[cfg(debug_assertions)]
const VARIABLE: &str = "PGWEIR_ABORT_AT";

/// Ends the process here if a test says so.
#[cfg(debug_assertions)]
pub(super) fn at(place: &str) {
    if std::env::var_os(VARIABLE).is_some_and(|wanted| wanted == place) {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub(super) fn at(_place: &str) {}
