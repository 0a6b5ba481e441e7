//! The resource agent where something is missing: it never loses sight of an engine.

use std::fs;

use crate::bench::Bench;

#[tokio::test]
async fn an_engine_is_watched_and_stopped_without_its_configuration() {
    let bench = Bench::new();
    assert_eq!(bench.resource("start").await.code, 0);
    fs::write(bench.path("nova-ha.toml"), "[fense]\n").unwrap();
    let watched = bench.resource("monitor").await;
    assert!(watched.code == 0 && watched.err.contains("fense"), "{watched:?}");
    assert_eq!(bench.engines().len(), 1);
    let stopped = bench.resource("stop").await;
    assert_eq!((stopped.code, bench.engines()), (0, vec![]), "{stopped:?}");
    assert_eq!(bench.resource("monitor").await.code, 7);
    let started = bench.resource("start").await;
    assert!(started.code == 5 && started.err.contains("fense"), "{started:?}");
}

#[tokio::test]
async fn an_engine_of_which_nothing_is_written_down_is_stopped() {
    let bench = Bench::new();
    let forget = || {
        fs::remove_file(bench.path("state/engine.pid")).unwrap();
        fs::remove_dir_all(bench.path("run")).unwrap();
    };
    assert_eq!(bench.resource("start").await.code, 0);
    forget();
    assert_eq!(bench.resource("monitor").await.code, 0);
    let stopped = bench.resource("stop").await;
    assert_eq!((stopped.code, bench.engines()), (0, vec![]), "{stopped:?}");

    // Neither what was written down, nor the configuration, nor the socket.
    assert_eq!(bench.resource("start").await.code, 0);
    forget();
    fs::remove_file(bench.path("state/engine.sock")).unwrap();
    fs::write(bench.path("nova-ha.toml"), "[fense]\n").unwrap();
    let stopped = bench.resource("stop").await;
    assert_eq!((stopped.code, bench.engines()), (0, vec![]), "{stopped:?}");
}

#[tokio::test]
async fn an_engine_that_could_not_be_written_down_does_not_stay() {
    let bench = Bench::new();
    fs::create_dir(bench.path("state/engine.pid")).unwrap();
    let started = bench.resource("start").await;
    assert!(started.code == 1 && started.err.contains("engine.pid"), "{started:?}");
    assert!(bench.engines().is_empty());
}

#[tokio::test]
async fn what_is_wrong_on_one_controller_is_not_wrong_on_all() {
    let bench = Bench::new();
    for (file, text, part) in
        [("power.toml", "[hosts]\n", "power.toml"), ("policy.toml", "mode = \"some\"\n", "policy.toml")]
    {
        let before = fs::read(bench.path(file)).ok();
        fs::write(bench.path(file), text).unwrap();
        for action in ["validate-all", "start"] {
            let ended = bench.resource(action).await;
            assert!(ended.code == 5 && ended.err.contains(part), "{action}: {ended:?}");
        }
        assert_eq!(bench.resource("monitor").await.code, 7);
        match before {
            Some(before) => fs::write(bench.path(file), before).unwrap(),
            None => fs::remove_file(bench.path(file)).unwrap(),
        }
    }
    assert_eq!(bench.resource("validate-all").await.code, 0);
}
