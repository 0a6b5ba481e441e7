//! The two messages that make a connection.

use super::QbError;

/// Length of a [`SetupRequest`].
pub const SETUP_REQUEST_LEN: usize = 24;
/// Length of a [`SetupReply`].
pub const SETUP_REPLY_LEN: usize = 40 + 3 * NAME_LEN;

/// A tool wants to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetupRequest {
    /// The largest message that it would like to exchange.
    pub max_msg_size: u32,
}

impl SetupRequest {
    /// Reads one.
    pub fn parse(bytes: &[u8; SETUP_REQUEST_LEN]) -> Result<Self, QbError> {
        let (id, size) = (signed(bytes, 0), signed(bytes, 8));
        // The C library looks at the number only; but what else would be that long?
        if id == SETUP_ID && usize::try_from(size) == Ok(SETUP_REQUEST_LEN) {
            Ok(Self { max_msg_size: unsigned(bytes, 16) })
        } else {
            Err(QbError::NotASetup { id, size })
        }
    }

    /// Writes one, as tools do.
    pub fn to_bytes(self) -> [u8; SETUP_REQUEST_LEN] {
        let mut bytes = [0; SETUP_REQUEST_LEN];
        put(&mut bytes, 0, &SETUP_ID.to_ne_bytes());
        put(&mut bytes, 8, &24u32.to_ne_bytes());
        put(&mut bytes, 16, &self.max_msg_size.to_ne_bytes());
        bytes
    }
}

/// How messages travel once a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Two pairs of datagram sockets.
    Socket,
    /// Three ring buffers in shared memory.
    SharedMemory,
}

/// What a tool is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupReply {
    /// 0, or why not as a negative error number; then nothing else counts.
    pub error: i32,
    /// How messages travel.
    pub transport: Transport,
    /// The largest message in either direction.
    pub max_msg_size: u32,
    /// Path of the request ring, or of the sockets' control file.
    pub request: String,
    /// Path of the response ring, or what the sockets' names begin with.
    pub response: String,
    /// Path of the event ring; empty for sockets.
    pub event: String,
}

impl SetupReply {
    /// Turns a tool away with this negative error number.
    pub fn refusal(error: i32) -> Self {
        Self {
            error,
            transport: Transport::Socket,
            max_msg_size: 0,
            request: String::new(),
            response: String::new(),
            event: String::new(),
        }
    }

    /// Writes it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, QbError> {
        let mut bytes = vec![0; SETUP_REPLY_LEN];
        put(&mut bytes, 0, &SETUP_ID.to_ne_bytes());
        put(&mut bytes, 8, &12_328u32.to_ne_bytes());
        put(&mut bytes, 16, &self.error.to_ne_bytes());
        let transport: i32 = match self.transport {
            Transport::Socket => 0,
            Transport::SharedMemory => 1,
        };
        put(&mut bytes, 24, &transport.to_ne_bytes());
        put(&mut bytes, 28, &self.max_msg_size.to_ne_bytes());
        // At 32 the C library has a pointer of its own, of which no client makes use.
        for (name, at) in [&self.request, &self.response, &self.event].into_iter().zip(NAMES) {
            if name.len() >= NAME_LEN {
                return Err(QbError::NameTooLong { limit: NAME_LEN - 1 });
            }
            put(&mut bytes, at, name.as_bytes());
        }
        Ok(bytes)
    }

    /// Reads one, as tools do.
    pub fn parse(bytes: &[u8; SETUP_REPLY_LEN]) -> Result<Self, QbError> {
        let (id, size) = (signed(bytes, 0), signed(bytes, 8));
        let transport = match signed(bytes, 24) {
            0 => Transport::Socket,
            1 => Transport::SharedMemory,
            _ => return Err(QbError::NotASetup { id, size }),
        };
        if id != SETUP_ID || usize::try_from(size) != Ok(SETUP_REPLY_LEN) {
            return Err(QbError::NotASetup { id, size });
        }
        let [request, response, event] = NAMES.map(|at| {
            let field = bytes.get(at..at + NAME_LEN).unwrap_or_default();
            let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        });
        let (error, max_msg_size) = (signed(bytes, 16), unsigned(bytes, 28));
        Ok(Self { error, transport, max_msg_size, request, response, event })
    }
}

/// Marks both messages.
const SETUP_ID: i32 = -1;
/// Room for a file name, its NUL included.
const NAME_LEN: usize = 4096;
/// Where the file names are.
const NAMES: [usize; 3] = [40, 40 + NAME_LEN, 40 + 2 * NAME_LEN];

pub(super) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    for (target, source) in bytes.iter_mut().skip(at).zip(field) {
        *target = *source;
    }
}

pub(super) fn unsigned(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_ne_bytes(*field))
}

pub(super) fn signed(bytes: &[u8], at: usize) -> i32 {
    unsigned(bytes, at).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a tool of 2.1.5 sends it.
    #[test]
    fn a_request_is_read() {
        let mut bytes = [0u8; 24];
        bytes[..4].copy_from_slice(&(-1i32).to_ne_bytes());
        bytes[8..12].copy_from_slice(&24i32.to_ne_bytes());
        bytes[16..20].copy_from_slice(&524_288u32.to_ne_bytes());
        let request = SetupRequest::parse(&bytes).unwrap();
        assert_eq!(request, SetupRequest { max_msg_size: 524_288 });
        assert_eq!(request.to_bytes(), bytes);
        bytes[0] = 0;
        assert!(matches!(SetupRequest::parse(&bytes), Err(QbError::NotASetup { size: 24, .. })));
        assert!(SetupRequest::parse(&[0; 24]).is_err());
        assert!(SetupRequest::parse(&[0xff; 24]).is_err());
    }

    #[test]
    fn a_reply_has_its_fields_where_clients_look() {
        let reply = SetupReply {
            error: 0,
            transport: Transport::SharedMemory,
            max_msg_size: 131_072,
            request: "/dev/shm/a/qb-request-attrd".into(),
            response: "/dev/shm/a/qb-response-attrd".into(),
            event: "/dev/shm/a/qb-event-attrd".into(),
        };
        let bytes = reply.to_bytes().unwrap();
        assert_eq!(bytes.len(), 12328);
        assert_eq!(unsigned(&bytes, 8), 12328);
        assert_eq!(unsigned(&bytes, 24), 1);
        assert_eq!(unsigned(&bytes, 28), 131_072);
        assert!(bytes[40..].starts_with(b"/dev/shm/a/qb-request-attrd\0"));
        assert!(bytes[4136..].starts_with(b"/dev/shm/a/qb-response-attrd\0"));
        assert!(bytes[8232..].starts_with(b"/dev/shm/a/qb-event-attrd\0"));
        assert_eq!(SetupReply::parse(bytes.first_chunk().unwrap()).unwrap(), reply);
        let refused = SetupReply::refusal(-121).to_bytes().unwrap();
        assert_eq!(signed(&refused, 16), -121);
        let long = SetupReply { event: "x".repeat(4096), ..reply };
        assert!(matches!(long.to_bytes(), Err(QbError::NameTooLong { limit: 4095 })));
    }
}
