//! Local time for log lines.

/// A moment on the local calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// 0 for January.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, minute and second.
    pub time: (u8, u8, u8),
}

/// The local calendar time of an epoch second; all zero if the C library cannot say.
pub fn local_time(epoch: i64) -> LocalTime {
    // SAFETY: `tm` is plain integers and one pointer that may be null; all-zero is a valid value.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type; localtime_r keeps neither.
    unsafe { libc::localtime_r(&raw const epoch, &raw mut broken_down) };
    let small = |value: libc::c_int| u8::try_from(value).unwrap_or(0);
    LocalTime {
        month: small(broken_down.tm_mon),
        day: small(broken_down.tm_mday),
        time: (small(broken_down.tm_hour), small(broken_down.tm_min), small(broken_down.tm_sec)),
    }
}
