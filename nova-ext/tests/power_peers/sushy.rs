//! sushy-tools' emulator over TLS as the Redfish device.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nova_ext::power::{self, PowerState, Redfish, RedfishSettings};
use nova_ext::secret::Secret;
use tokio::time::sleep;

use crate::{Running, peer};

const TIME: Duration = Duration::from_secs(20);
const ONE: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef094";
const TWO: &str = "27946b59-9e44-4fa7-8e91-f3527a1ef095";

struct Emulator {
    _folder: tempfile::TempDir,
    address: String,
    _running: Running,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power").join(name)
}

impl Emulator {
    async fn start(systems: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let systems: Vec<_> = systems
            .iter()
            .map(|uuid| format!("{{'uuid': '{uuid}', 'name': '{uuid}', 'power_state': 'On', 'nics': []}}"))
            .collect();
        let config = folder.path().join("emulator.conf");
        fs::write(
            &config,
            format!(
                "SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\nSUSHY_EMULATOR_LISTEN_PORT = {port}\n\
                 SUSHY_EMULATOR_SSL_CERT = '{}'\nSUSHY_EMULATOR_SSL_KEY = '{}'\nSUSHY_EMULATOR_STATE_DIR = '{}'\n\
                 SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_FAKE_SYSTEMS = [{}]\n",
                file("redfish-cert.pem").display(),
                file("redfish-key.pem").display(),
                folder.path().display(),
                systems.join(", ")
            ),
        )
        .unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(peer("sushy-emulator"));
        command.arg("--config").arg(&config).stdout(log.try_clone().unwrap()).stderr(Stdio::from(log));
        let running = Running::start(&mut command);
        let address = format!("127.0.0.1:{port}");
        let started = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            let log = fs::read_to_string(folder.path().join("log")).unwrap();
            assert!(started.elapsed() < Duration::from_secs(60), "sushy-emulator does not start: {log}");
            sleep(Duration::from_millis(100)).await;
        }
        Self { _folder: folder, address, _running: running }
    }

    fn driver(&self, system: Option<&str>) -> Redfish {
        Redfish::new(RedfishSettings {
            place: self.address.parse().unwrap(),
            user: "fencer".into(),
            password: Secret::new("hunter2".into()),
            system: system.map(str::to_owned),
            session: false,
            ca_file: Some(file("redfish-cert.pem")),
            insecure: false,
        })
        .unwrap()
    }
}

#[tokio::test]
async fn off_on_and_cycle() {
    let emulator = Emulator::start(&[ONE]).await;
    let host = "compute-1".parse().unwrap();
    let proof = power::confirm_off(&mut emulator.driver(None), &host, TIME).await.unwrap();
    assert!(proof.to_string().contains("read off 2 times"), "{proof}");
    power::confirm_off(&mut emulator.driver(None), &host, TIME).await.unwrap();
    assert_eq!(power::confirm_on(&mut emulator.driver(None), TIME).await.unwrap().state, PowerState::On);
    assert_eq!(power::cycle(&mut emulator.driver(None), TIME).await.unwrap().state, PowerState::On);
}

#[tokio::test]
async fn one_of_two_systems() {
    let emulator = Emulator::start(&[ONE, TWO]).await;
    let error = power::status(&mut emulator.driver(None), TIME).await.unwrap_err().to_string();
    assert!(error.contains("several systems") && error.contains(ONE), "{error}");
    power::switch_off(&mut emulator.driver(Some(TWO)), TIME).await.unwrap();
    assert_eq!(power::status(&mut emulator.driver(Some(ONE)), TIME).await.unwrap().state, PowerState::On);
    assert_eq!(power::status(&mut emulator.driver(Some(TWO)), TIME).await.unwrap().state, PowerState::Off);
}
