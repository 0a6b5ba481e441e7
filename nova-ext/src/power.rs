//! Power devices: what a host's power reads, and how it is switched. Makes the fence proof that rests on it.
//!
//! A device is believed when it *reads* a state, twice in a row and some time apart. What it answers to an order
//! counts for nothing: boards say "OK" and stay on, and say "error" and go off.

mod agent;
mod confirm;
mod device;
mod error;
pub mod evidence;
mod farewell;
pub mod ipmi;
pub mod map;
mod place;
pub mod redfish;

pub use agent::{FenceAgent, FenceAgentSettings};
pub use confirm::{Outcome, confirm_off, confirm_on, cycle, off_with_proof, read_off, status, switch_off};
pub use device::{Answer, Device, Look, Order, PowerState};
pub use error::{PowerError, Retry};
pub use farewell::farewells;
pub use ipmi::{Ipmi, IpmiSettings};
pub use map::{Map, MapError};
pub use place::Place;
pub use redfish::{Redfish, RedfishSettings};
