//! How the C library's allocator keeps memory.

/// One pool for all threads, and freed memory goes back to the system at once instead of waiting for the
/// next large document. Daemons live long, and a compute node's memory belongs to its guests.
#[cfg(target_env = "gnu")]
pub fn keep_little_memory() {
    const RETURN_AT: libc::c_int = 128 << 10;
    for (option, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, RETURN_AT), (libc::M_TRIM_THRESHOLD, RETURN_AT)]
    {
        // SAFETY: takes two integers; unknown options are refused.
        unsafe { libc::mallopt(option, value) };
    }
}

/// Gives freed memory between used pieces back to the system. Takes milliseconds, in which other threads
/// cannot allocate: for after something large.
#[cfg(target_env = "gnu")]
pub fn return_memory() {
    // SAFETY: takes an integer; the allocator locks itself.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries do so by themselves or not at all.
#[cfg(not(target_env = "gnu"))]
pub fn return_memory() {}

/// Other C libraries have no such settings.
#[cfg(not(target_env = "gnu"))]
pub fn keep_little_memory() {}
