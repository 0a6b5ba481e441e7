//! The key file: search order, late arrival, change, damage.

use std::path::PathBuf;

use pcmk_remote::net::ServerOptions;
use pcmk_remote::net::tls::KeyStore;
use tempfile::TempDir;

use super::*;

#[tokio::test]
async fn a_key_that_comes_late_is_used_at_the_next_handshake() {
    let log = Log::global();
    let (rig, paths) = without_key(1).await;
    let at_start = format!("Could not read Pacemaker Remote key from {}", paths[0].display());
    assert_eq!(log.count(&at_start), 1);
    {
        let (log, _guard) = Log::capture();
        assert!(rig.client_with_key(&key(1, 64)).await.is_err());
        log.line_with(&[
            "TLS handshake with remote client failed",
            "this node has no key",
            &paths[0].display().to_string(),
        ])
        .await;
    }
    write_new(&paths[0], &key(1, 64));
    ask(&mut rig.client_with_key(&key(1, 64)).await.unwrap(), 1).await;
    assert_eq!(log.count(&at_start), 1, "said once");
}

#[tokio::test]
async fn a_changed_key_counts_for_new_connections_only() {
    let rig = Rig::start().await;
    let mut before = rig.client().await;
    for (seed, length) in [(9, 32), (10, 32), (11, 5000), (12, 1)] {
        let (new, path) = (key(seed, length), rig.key_file.with_extension("new"));
        if length == 32 {
            write_new(&rig.key_file, &new); // in place, same length
        } else {
            write_new(&path, &new);
            std::fs::rename(&path, &rig.key_file).unwrap();
        }
        ask(&mut rig.client_with_key(&new).await.unwrap(), 1).await;
        assert!(rig.client_with_key(&rig.key).await.is_err());
        ask(&mut before, i64::from(seed)).await;
    }
    write_new(&rig.key_file, &rig.key);
    ask(&mut rig.client().await, 1).await;
}

#[tokio::test]
async fn a_damaged_key_file_keeps_the_last_good_key_and_is_named_once() {
    let log = Log::global();
    let rig = Rig::start().await;
    let named = format!("Could not read Pacemaker Remote key from {}", rig.key_file.display());

    write_new(&rig.key_file, b"");
    for _ in 0..3 {
        ask(&mut rig.client().await, 1).await;
    }
    assert_eq!(log.count(&format!("{named}: it is empty; the last good key stays in use")), 1);
    std::fs::remove_file(&rig.key_file).unwrap();
    for _ in 0..3 {
        ask(&mut rig.client().await, 1).await;
    }
    assert_eq!(log.count(&format!("{named}: No such file")), 1);
    std::fs::create_dir(&rig.key_file).unwrap();
    ask(&mut rig.client().await, 1).await;
    std::fs::remove_dir(&rig.key_file).unwrap();
    write_new(&rig.key_file, &vec![0; (1 << 20) + 1]);
    ask(&mut rig.client().await, 1).await;
    assert_eq!(log.count(&format!("{named}: it is larger than 1048576 bytes")), 1);
    assert_eq!(log.count(&named), 4);

    write_new(&rig.key_file, &key(2, 100));
    ask(&mut rig.client_with_key(&key(2, 100)).await.unwrap(), 1).await;
    write_new(&rig.key_file, b"");
    ask(&mut rig.client_with_key(&key(2, 100)).await.unwrap(), 1).await;
    assert_eq!(log.count(&format!("{named}: it is empty")), 2, "news again after it was good");
}

#[tokio::test]
async fn the_first_readable_file_of_the_search_order_is_used() {
    let log = Log::global();
    let (rig, paths) = without_key(3).await;
    let works = |seed| {
        let rig = &rig;
        async move { rig.client_with_key(&key(seed, 256)).await.is_ok() }
    };
    write_new(&paths[2], &key(3, 256));
    assert!(works(3).await);
    write_new(&paths[1], &key(2, 256));
    assert!(works(2).await && !works(3).await, "an earlier file takes over");
    write_new(&paths[0], b"");
    assert!(works(2).await, "but not while it is no key");
    assert_eq!(log.count(&format!("from {}: it is empty", paths[0].display())), 1);
    write_new(&paths[0], &key(1, 256));
    assert!(works(1).await && !works(2).await);
    std::fs::remove_file(&paths[0]).unwrap();
    assert!(works(1).await && !works(2).await, "a later file does not replace a missing one");
}

/// The whole file is the key: no trimming, no decoding.
#[tokio::test]
async fn a_line_end_is_part_of_the_key() {
    let (rig, paths) = without_key(1).await;
    write_new(&paths[0], b"secret\n");
    assert!(rig.client_with_key(b"secret").await.is_err());
    ask(&mut rig.client_with_key(b"secret\n").await.unwrap(), 1).await;
}

/// Opening a pipe would wait for a writer for ever.
#[tokio::test]
async fn a_pipe_instead_of_a_key_does_not_hang_us() {
    let (rig, paths) = without_key(2).await;
    nix::unistd::mkfifo(&paths[0], nix::sys::stat::Mode::S_IRWXU).unwrap();
    write_new(&paths[1], &key(1, 256));
    ask(&mut rig.client_with_key(&key(1, 256)).await.unwrap(), 1).await;
}

/// A server whose key files do not exist yet.
async fn without_key(files: usize) -> (Rig, Vec<PathBuf>) {
    let dir = TempDir::new().unwrap();
    let paths: Vec<PathBuf> = (0..files).map(|i| dir.path().join(format!("key-{i}"))).collect();
    let store = KeyStore::open_paths(paths.clone()).await.unwrap();
    let rig = Rig::with_keys(ServerOptions::default(), store, dir, paths[0].clone(), Vec::new()).await;
    (rig, paths)
}
