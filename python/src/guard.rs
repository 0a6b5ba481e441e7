//! Nothing that goes wrong here ends a service of Nova.
//!
//! Left alone, a panic becomes an exception that `except Exception` does not catch, and a worker of Nova ends by it.

use std::any::Any;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::errors::{Failure, Kind};

/// Whether some function is to panic, for tests of this very thing.
static INJECTED: AtomicBool = AtomicBool::new(false);
static WHERE: Mutex<String> = Mutex::new(String::new());

/// Has a panic say one line and no more, whatever `RUST_BACKTRACE` says: under eventlet stacks are moved about, and whoever
/// walks one ends the process.
pub(crate) fn keep_panics_short() {
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(io::stderr(), "nova_ext: a bug: {panic}");
    }));
}

/// Runs the body of a function that Python calls.
pub(crate) fn guarded<T>(name: &str, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    // Whatever was being changed is behind a lock that a panic has left in a state that is used all the same.
    let work = AssertUnwindSafe(|| {
        if INJECTED.load(Ordering::Relaxed) {
            perhaps_panic(name);
        }
        work()
    });
    catch_unwind(work).unwrap_or_else(|panic| Err(panicked(name, panic.as_ref()).into()))
}

/// What a panic has said.
pub(crate) fn panicked(name: &str, panic: &(dyn Any + Send)) -> Failure {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
    Failure::new(Kind::NativePanic, format!("{name} failed by a bug of nova_ext: {said}"))
}

/// A lock that a panic elsewhere does not take away.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn perhaps_panic(name: &str) {
    let wanted = lock(&WHERE).clone();
    assert!(wanted != name, "a test wants it");
}

/// Has a function panic from now on, by its name; none: never. For tests.
#[pyfunction]
#[pyo3(signature = (name))]
pub(crate) fn inject_panic(name: Option<String>) {
    INJECTED.store(name.is_some(), Ordering::Relaxed);
    *lock(&WHERE) = name.unwrap_or_default();
}
