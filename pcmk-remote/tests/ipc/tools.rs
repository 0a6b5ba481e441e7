//! Real tools of each release against our server: the C library at the other end.

use std::collections::HashMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::mount::{MsFlags, mount};
use pcmk_proto::qb::{self, IpcName, Transport};
use pcmk_proto::xml::{Element, WriteXml as _};
use pcmk_remote::ids::ToolId;
use pcmk_remote::ipc::{IpcError, IpcEvent, IpcHandle, IpcOptions, IpcServer};
use tokio::process::Command;

use crate::*;

/// The file system of a remote node of a suite, as the rig builds it.
struct Image {
    root: tempfile::TempDir,
    /// What is written to it.
    _top: tempfile::TempDir,
}

/// Lays writable files over those of other folders.
fn overlay(target: &Path, layers: &[String], top: &Path) {
    let (upper, work) = (top.join("upper"), top.join("work"));
    for folder in [&upper, &work] {
        std::fs::create_dir(folder).unwrap();
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", layers.join(":"), upper.display(), work.display());
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
}

fn bind(from: &str, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>).unwrap();
}

impl Image {
    fn mount(suite: &str) -> Self {
        let own = std::env::var_os("PCMK_RIG_CACHE").map(PathBuf::from);
        let shared = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
        let cache = own.unwrap_or_else(|| shared.unwrap_or_else(home).join("pcmk-remote"));
        let image = cache.join("images").join(suite);
        let root = tempfile::tempdir_in("/dev/shm").unwrap();
        let layers = ["remote", "base"].map(|layer| image.join(layer).display().to_string());
        let top = tempfile::tempdir_in("/dev/shm").unwrap();
        overlay(root.path(), &layers, top.path());
        for shared in ["dev", "proc"] {
            bind(&format!("/{shared}"), &root.path().join(shared));
        }
        Self { root, _top: top }
    }

    /// Runs a tool; its exit code and what it said.
    async fn run(
        &self,
        command: &[&str],
        environment: &[(&str, &str)],
        input: Option<&str>,
    ) -> (i32, String, String) {
        let mut tool = Command::new("chroot");
        tool.arg(self.root.path()).args(command).envs(environment.iter().copied());
        tool.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        tool.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut tool = tool.spawn().unwrap();
        if let Some(input) = input {
            let mut stdin = tool.stdin.take().unwrap();
            let input = input.to_owned();
            tokio::spawn(async move {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await;
            });
        }
        let output = soon(&command.join(" "), tool.wait_with_output()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }
}

/// A CIB manager that knows one document, and answers as the real one does through the proxy.
struct Cib {
    document: String,
    /// Length of the last document that somebody put in its place.
    replaced: Arc<AtomicUsize>,
}

impl Cib {
    fn answer(&self, handle: &IpcHandle, tool: ToolId, msg_id: i32, flags: u32, request: &Element) {
        let attr = |name: &str| request.attr(name).unwrap_or_default().to_owned();
        if attr("cib_op") == "register" {
            let ack = "<ack cib_op=\"register\" cib_clientid=\"6f0a5ae0-7b64-4d32-94c0-8cbbd3e1f7a5\"/>";
            return handle.respond(tool, msg_id, ack.to_owned());
        }
        let content = if attr("cib_op") == "cib_query" {
            format!("<cib_calldata>{}</cib_calldata>", self.document)
        } else {
            let given = request.child("cib_calldata").and_then(Element::first_child_element).unwrap();
            self.replaced.store(given.to_xml().len(), Ordering::Relaxed);
            String::new()
        };
        let answer = format!(
            "<cib-reply t=\"cib\" cib_op=\"{}\" cib_callid=\"{}\" cib_clientid=\"{}\" cib_callopt=\"{}\" cib_rc=\"0\">{content}</cib-reply>",
            attr("cib_op"),
            attr("cib_callid"),
            attr("cib_async_id"),
            attr("cib_callopt"),
        );
        // Most tools take the answer as an event.
        if flags & qb::flags::CLIENT_RESPONSE == 0 {
            handle.event(tool, 0, answer);
        } else {
            handle.respond(tool, msg_id, answer);
        }
    }
}

/// A controller that says who it is, as an event after an acknowledgement.
fn controller(handle: &IpcHandle, tool: ToolId, flags: u32, msg_id: i32, request: &Element) {
    let attr = |name: &str| request.attr(name).unwrap_or_default().to_owned();
    if flags & qb::flags::CLIENT_RESPONSE != 0 {
        handle.respond(tool, msg_id, "<ack/>".to_owned());
    }
    if attr("crm_task") == "ping" {
        handle.event(
            tool,
            0,
            format!(
                "<create_reply_adv origin=\"x\" t=\"crmd\" version=\"3.16.1\" subt=\"response\" reference=\"{}\" \
                 crm_task=\"ping\" crm_sys_to=\"{}\" crm_sys_from=\"dc\" src=\"controller-7\"><crm_xml><ping_response \
                 value=\"ok\" crm_subsystem=\"crmd\" crmd_state=\"S_IDLE\" result=\"ok\"/></crm_xml></create_reply_adv>",
                attr("reference"),
                attr("crm_sys_from"),
            ),
        );
    }
}

/// The cluster behind the names.
fn serve(bed: Bed, document: String) -> (IpcHandle, Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let Bed { handle, mut events } = bed;
    let replaced = Arc::new(AtomicUsize::new(0));
    let (tools, cib) = (handle.clone(), Cib { document, replaced: Arc::clone(&replaced) });
    let serving = tokio::spawn(async move {
        let mut names = HashMap::new();
        while let Some(event) = events.recv().await {
            match event {
                IpcEvent::Connecting { tool, server: IpcName::Pacemakerd, .. } => {
                    tools.refuse(tool, -libc::EREMOTEIO);
                }
                IpcEvent::Connecting { tool, server, .. } => {
                    names.insert(tool, server);
                    tools.accept(tool);
                }
                IpcEvent::Request { tool, msg_id, flags, payload } => match names[&tool] {
                    IpcName::Crmd => controller(&tools, tool, flags, msg_id, &payload),
                    _ => cib.answer(&tools, tool, msg_id, flags, &payload),
                },
                IpcEvent::Closed { tool } => drop(names.remove(&tool)),
            }
        }
    });
    (handle, replaced, serving)
}

/// A CIB of so many bytes, as it looks with very many remote nodes: most of it is their history.
fn large_cib(size: usize) -> String {
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut hex = |digits: usize| {
        let mut text = String::new();
        while text.len() < digits {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text += &format!("{seed:016x}");
        }
        text.truncate(digits);
        text
    };
    let mut cib = String::from(
        "<cib crm_feature_set=\"3.16.1\" validate-with=\"pacemaker-3.9\" epoch=\"9\" num_updates=\"1\" admin_epoch=\"0\">\
         <configuration><crm_config/><nodes/><resources/><constraints/></configuration><status>",
    );
    for node in 0.. {
        if cib.len() + 24 >= size {
            break;
        }
        cib += &format!(
            "<node_state remote_node=\"true\" id=\"compute-{node:04}\" uname=\"compute-{node:04}\" in_ccm=\"true\" \
             crm-debug-origin=\"controld_update_resource_history\" node_fenced=\"0\"><lrm id=\"compute-{node:04}\"><lrm_resources>"
        );
        for resource in 0..8 {
            let (uuid, digest) = (hex(32), hex(32));
            let uuid = [&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]].join("-");
            cib += &format!(
                "<lrm_resource id=\"svc-{resource}\" type=\"Dummy\" class=\"ocf\" provider=\"pacemaker\"><lrm_rsc_op \
                 id=\"svc-{resource}_last_0\" operation_key=\"svc-{resource}_monitor_0\" operation=\"monitor\" \
                 crm-debug-origin=\"controld_update_resource_history\" crm_feature_set=\"3.16.1\" \
                 transition-key=\"{resource}:{node}:7:{uuid}\" \
                 transition-magic=\"0:7;{resource}:{node}:7:{uuid}\" exit-reason=\"\" \
                 on_node=\"compute-{node:04}\" call-id=\"{}\" rc-code=\"7\" op-status=\"0\" interval=\"0\" \
                 last-rc-change=\"17958{:05}\" exec-time=\"{}\" queue-time=\"0\" op-digest=\"{digest}\"/></lrm_resource>",
                node + resource,
                node * 7 % 99_999,
                node % 40 + resource,
            );
        }
        cib.push_str("</lrm_resources></lrm></node_state>");
    }
    cib.push_str("</status></cib>");
    cib
}

/// The releases to test, with their images: built if they are not there.
fn suites() -> Vec<String> {
    let chosen = std::env::var("PCMK_RIG_SUITES").unwrap_or_else(|_| "bookworm trixie newest".to_owned());
    let suites: Vec<String> = chosen.split_whitespace().map(str::to_owned).collect();
    let script = tree("tests/rig/images");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let built = runtime
        .block_on(async { Command::new(&script).args(&suites).stdin(Stdio::null()).status().await })
        .unwrap();
    assert!(built.success(), "{} {chosen} failed: see above", script.display());
    suites
}

#[test]
fn tools_of_every_release_get_their_answers() {
    let suites = suites();
    alone(async {
        for suite in &suites {
            let image = Image::mount(suite);
            for transport in TRANSPORTS {
                let (handle, replaced, serving) = serve(Bed::start(transport), large_cib(3_000));
                let context = format!("{suite}, {transport:?}");
                let (code, out, err) = image.run(&["cibadmin", "-Q"], &[], None).await;
                assert_eq!((code, err.as_str()), (0, ""), "{context}");
                assert!(
                    out.contains("<node_state remote_node=\"true\" id=\"compute-0000\""),
                    "{context}: {out}"
                );
                let (code, out, err) = image.run(&["crmadmin", "-D"], &[], None).await;
                assert_eq!((code, out.contains("controller-7")), (0, true), "{context}: {out}{err}");
                let cib = large_cib(3_000);
                let (code, out, err) =
                    image.run(&["cibadmin", "--replace", "--xml-pipe"], &[], Some(&cib)).await;
                assert_eq!(code, 0, "{context}: {out}{err}");
                assert!(replaced.load(Ordering::Relaxed) >= cib.len(), "{context}");
                handle.shut_down(DEADLINE).await;
                serving.abort();
                let _ = serving.await;
                until("files to go", || leftovers().iter().all(|name| !name.starts_with("qb-"))).await;
            }
        }
    });
}

/// As with 1,000 remote nodes, and `PCMK_ipc_buffer` set for that.
#[test]
fn large_documents_pass_either_way() {
    let suites = suites();
    alone(async {
        let cib = large_cib(8 << 20);
        for suite in &suites {
            let image = Image::mount(suite);
            for transport in TRANSPORTS {
                let options = IpcOptions { transport, buffer: 20 << 20, ..IpcOptions::default() };
                let (handle, replaced, serving) = serve(Bed::with(options), cib.clone());
                let context = format!("{suite}, {transport:?}");
                let ((code, out, err), took) = timed(image.run(&["cibadmin", "-Q"], &[], None)).await;
                assert_eq!((code, err.as_str()), (0, ""), "{context}");
                assert!(out.len() > cib.len(), "{context}: {}", out.len());
                println!("{context}: query {took:?}");
                // What a tool may send on a socket is the system's affair.
                if transport == Transport::SharedMemory {
                    let replace = image.run(&["cibadmin", "--replace", "--xml-pipe"], &[], Some(&cib));
                    let ((code, out, err), took) = timed(replace).await;
                    assert_eq!(code, 0, "{context}: {out}{err}");
                    assert!(replaced.load(Ordering::Relaxed) >= cib.len(), "{context}");
                    println!("{context}: replace {took:?}");
                }
                handle.shut_down(DEADLINE).await;
                serving.abort();
                let _ = serving.await;
            }
        }
    });
}

/// A node that was told to have no abstract names.
#[test]
fn tools_find_names_in_the_file_system() {
    const NAMES: [&str; 2] = ["/run", "/tmp"];
    let suites = suites();
    alone(async {
        let etc = tempfile::tempdir_in("/dev/shm").unwrap();
        overlay(Path::new("/etc"), &["/etc".to_owned()], etc.path());
        for folder in NAMES {
            mount(Some("names"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        }
        for suite in &suites {
            let image = Image::mount(suite);
            for folder in NAMES {
                bind(folder, &image.root.path().join(&folder[1..]));
            }
            for etc in [Path::new("/etc"), &image.root.path().join("etc")] {
                std::fs::create_dir_all(etc.join("libqb")).unwrap();
                std::fs::write(etc.join("libqb/force-filesystem-sockets"), "").unwrap();
            }
            for transport in TRANSPORTS {
                // Of one that was killed, and of a stranger who is alive.
                drop(UnixListener::bind("/run/attrd").unwrap());
                let _stranger = UnixListener::bind("/tmp/attrd").unwrap();
                std::os::unix::fs::chown("/tmp/attrd", Some(65_534), None).unwrap();
                let (handle, _, serving) = serve(Bed::start(transport), large_cib(3_000));
                for folder in NAMES {
                    let found = std::fs::metadata(Path::new(folder).join("attrd")).unwrap();
                    assert_eq!((found.permissions().mode() & 0o7777, found.uid()), (0o777, 0), "{folder}");
                }
                let (sender, _receiver) = tokio::sync::mpsc::channel(1);
                let taken = IpcServer::start(IpcOptions::default(), sender).unwrap_err();
                assert!(matches!(taken, IpcError::Taken { name: IpcName::Lrmd }), "{taken}");
                let context = format!("{suite}, {transport:?}");
                let (code, out, err) = image.run(&["cibadmin", "-Q"], &[], None).await;
                assert_eq!((code, err.as_str()), (0, ""), "{context}");
                assert!(out.contains("id=\"compute-0000\""), "{context}: {out}");
                handle.shut_down(DEADLINE).await;
                serving.abort();
                let _ = serving.await;
                for folder in NAMES {
                    let left: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
                    assert!(left.is_empty(), "{context}: {left:?}");
                }
            }
        }
    });
}
