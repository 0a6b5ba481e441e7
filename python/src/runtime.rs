//! Where calls that wait for networks run: one runtime per process, made when it is first needed.
//!
//! Nova forks its workers after plug-ins are loaded, and a runtime does not survive that: its threads are not there in
//! the child, which would wait for them for ever. So each process has its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::errors::{Failure, Kind};
use crate::guard::{lock, panicked};

/// Between looks for a signal: Ctrl-C ends a call.
const SIGNALS: Duration = Duration::from_millis(100);

/// Taken with Python's lock held, and forks are done with it: no child finds it locked.
static RUNTIME: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);

fn runtime() -> Result<Arc<Runtime>, Failure> {
    let mut known = lock(&RUNTIME);
    let pid = std::process::id();
    if let Some((of, runtime)) = &*known
        && *of == pid
    {
        return Ok(Arc::clone(runtime));
    }
    let made = Builder::new_multi_thread().worker_threads(2).thread_name("nova-ext").enable_all().build();
    let made = made.map_err(|error| Failure::retryable(Kind::EngineError, format!("no threads: {error}")))?;
    let made = Arc::new(made);
    // The parent's is not ended here: its threads are not here.
    std::mem::forget(known.replace((pid, Arc::clone(&made))));
    Ok(made)
}

/// Runs a call: to its end, or, with `aio`, as something that asyncio waits for.
pub(crate) fn run<T, F>(py: Python<'_>, name: &'static str, aio: bool, work: F) -> PyResult<Py<PyAny>>
where
    T: for<'py> IntoPyObject<'py> + Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    if aio { later(py, name, work) } else { now(py, name, work)?.into_py_any(py) }
}

fn now<T, F>(py: Python<'_>, name: &'static str, work: F) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let runtime = runtime()?;
    let mut task = runtime.spawn(work);
    loop {
        match py.detach(|| runtime.block_on(async { timeout(SIGNALS, &mut task).await })) {
            Ok(Ok(done)) => return Ok(done?),
            Ok(Err(lost)) if lost.is_panic() => {
                return Err(panicked(name, lost.into_panic().as_ref()).into());
            }
            Ok(Err(lost)) => return Err(Failure::new(Kind::EngineError, lost.to_string()).into()),
            Err(_) => py.check_signals().inspect_err(|_| task.abort())?,
        }
    }
}

/// A future of asyncio. One that is cancelled ends the call where it waits.
fn later<T, F>(py: Python<'_>, name: &'static str, work: F) -> PyResult<Py<PyAny>>
where
    T: for<'py> IntoPyObject<'py> + Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let runtime = runtime()?;
    let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
    let future = event_loop.call_method0("create_future")?;
    let (its_loop, its_future) = (event_loop.unbind(), future.clone().unbind());
    let task = runtime.spawn(work);
    let abort = Aborts(task.abort_handle()).into_pyobject(py)?;
    future.call_method1("add_done_callback", (abort,))?;
    runtime.spawn(async move {
        let done = match task.await {
            Ok(done) => done.map_err(PyErr::from),
            Err(lost) if lost.is_panic() => Err(panicked(name, lost.into_panic().as_ref()).into()),
            // Nobody waits any more.
            Err(_) => return,
        };
        Python::attach(|py| {
            let told = tell(py, &its_loop, &its_future, done);
            // The loop may have ended.
            drop(told);
        });
    });
    Ok(future.unbind())
}

fn tell<T>(py: Python<'_>, event_loop: &Py<PyAny>, future: &Py<PyAny>, done: PyResult<T>) -> PyResult<()>
where
    T: for<'py> IntoPyObject<'py>,
{
    let settle = py.import("nova_ext._settle")?.getattr("settle")?;
    let (value, error) = match done.and_then(|value| value.into_py_any(py)) {
        Ok(value) => (value, py.None()),
        Err(error) => (py.None(), error.into_py_any(py)?),
    };
    event_loop.call_method1(py, "call_soon_threadsafe", (settle, future, value, error))?;
    Ok(())
}

/// What asyncio calls when a future is done: a call that is still under way ends.
#[pyclass(frozen)]
struct Aborts(tokio::task::AbortHandle);

#[pymethods]
impl Aborts {
    fn __call__(&self, _future: &Bound<'_, PyAny>) {
        self.0.abort();
    }
}
