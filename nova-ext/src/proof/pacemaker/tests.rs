use super::*;

const HISTORY: &str = r#"<?xml version="1.0"?>
<pacemaker-result api-version="2.25" request="stonith_admin --history=compute-1 --output-as=xml">
  <list name="Fencing History" count="3">
    <fence_event action="off" target="compute-1" client="pacemaker-controld.1690" origin="ctl-1" status="pending" extended-status="2"/>
    <fence_event action="off" target="compute-1" client="pacemaker-controld.1690" origin="ctl-1" status="success" delegate="ctl-2" completed="2026-11-30 11:00:00.250000 +01:00"/>
    <fence_event action="reboot" target="compute-1" client="stonith_admin.7" origin="ctl-1" status="failed" exit-reason="No &quot;device&quot;" completed="2026-11-30 09:00:00Z"/>
  </list>
  <status code="0" message="OK"/>
</pacemaker-result>"#;

fn stamp(text: &str) -> Stamp {
    text.parse().unwrap()
}

fn names() -> (NodeName, HostName) {
    ("compute-1".parse().unwrap(), "compute-1.example.org".parse().unwrap())
}

fn done(action: &str, at: &str) -> FenceEvent {
    FenceEvent {
        target: "compute-1".into(),
        action: action.into(),
        state: State::Success,
        client: "pacemaker-controld.1".into(),
        delegate: Some("ctl-1".into()),
        completed: Some(stamp(at)),
    }
}

#[test]
fn history_is_read() {
    let events = history(HISTORY).unwrap();
    assert_eq!(
        events.iter().map(|event| event.state).collect::<Vec<_>>(),
        [State::Pending, State::Success, State::Failed]
    );
    assert_eq!(events[1].completed, Some(stamp("2026-11-30T10:00:00.250Z")));
    assert_eq!(events[2].completed, Some(stamp("2026-11-30T09:00:00Z")));
    for bad in ["", "<html/>", "<pacemaker-result><fence_event/></pacemaker-result>", "<pacemaker-result"] {
        assert!(history(bad).is_err(), "{bad}");
    }
    let odd = HISTORY.replace("2026-11-30 09:00:00Z", "yesterday");
    assert!(history(&odd).is_err());
}

#[test]
fn a_node_is_online_if_it_is_clean() {
    let online = |state: &str| {
        let text = format!(
            r#"<pacemaker-result><nodes><node name="compute-1" {state} type="remote"/></nodes><resources>
            <resource id="w"><node name="compute-1" id="compute-1" cached="true"/></resource></resources></pacemaker-result>"#
        );
        is_online(&text, &"compute-1".parse().unwrap()).unwrap()
    };
    assert!(online(r#"online="true" unclean="false" pending="false""#));
    for state in [
        r#"online="false" unclean="false" pending="false""#,
        r#"online="true" unclean="true" pending="false""#,
        r#"online="true" unclean="false" pending="true""#,
        "",
    ] {
        assert!(!online(state), "{state}");
    }
    assert!(is_online("<crm_mon", &"compute-1".parse().unwrap()).is_err());
}

#[test]
fn a_node_is_lost_if_it_is_listed_and_nowhere_online() {
    let said = |nodes: &str| {
        let text = format!(
            r#"<pacemaker-result><nodes>{nodes}<node name="ctl-1" online="true" unclean="false"/></nodes><resources>
            <resource id="w"><node name="compute-1" id="compute-1" cached="true"/></resource></resources></pacemaker-result>"#
        );
        is_lost(&text, &"compute-1".parse().unwrap()).unwrap()
    };
    let node = |state: &str| said(&format!(r#"<node name="Compute-1" {state} type="remote"/>"#));
    assert_eq!(node(r#"online="false" unclean="false""#), Some(true));
    assert_eq!(node(r#"online="true" unclean="true""#), Some(true));
    for online in [
        r#"online="true" unclean="false""#,
        r#"online="true""#,
        r#"online="true" unclean="false" pending="true""#,
        r#"online="" unclean="""#,
    ] {
        assert_eq!(node(online), Some(false), "{online}");
    }
    // Where a resource runs does not list it.
    assert_eq!(said(""), None);
    let twice =
        r#"<node name="compute-1" online="false"/><node name="compute-1" online="true" unclean="false"/>"#;
    assert_eq!(said(twice), Some(false));
    for bad in ["", "<crm_mon", "<html/>"] {
        assert!(is_lost(bad, &"compute-1".parse().unwrap()).is_err(), "{bad}");
    }
}

#[test]
fn times_of_all_zones() {
    for text in ["2026-11-30 10:00:00Z", "2026-11-30 15:30:00.999 +05:30", "2026-11-30 04:00:00 -06:00"] {
        assert_eq!(
            xml::time(text).map(Stamp::as_secs),
            Some(stamp("2026-11-30T10:00:00Z").as_secs()),
            "{text}"
        );
    }
    for bad in
        ["", "Z", "2026-11-30 10:00:00", "2026-11-30 10:00:00 *01:00", "1970-01-01 00:00:00 +01:00", "+ü"]
    {
        assert_eq!(xml::time(bad), None, "{bad}");
    }
}

/// A cluster that has nothing but power devices.
fn powered() -> Topology {
    Topology::parse(r#"<cib><primitive id="bmc-1" class="stonith" type="fence_ipmilan"/></cib>"#).unwrap()
}

#[test]
fn a_completed_entry_counts_if_the_node_was_not_seen_since() {
    let (node, host) = names();
    let (events, power) = (history(HISTORY).unwrap(), powered());
    let proof = completed(&events, &power, &node, &host, stamp("2026-11-30T09:59:59Z"), false).unwrap();
    assert_eq!((proof.host(), proof.at()), (&host, stamp("2026-11-30T10:00:00.250Z")));
    let late = completed(&events, &power, &node, &host, stamp("2026-11-30T10:00:01Z"), false);
    assert!(matches!(late, Err(NoProof::Before { .. })));
    let other = "compute-2".parse().unwrap();
    assert_eq!(
        completed(&events, &power, &other, &host, stamp("2026-11-30T09:00:00Z"), true),
        Err(NoProof::Nothing(other))
    );
}

#[test]
fn the_last_entry_decides() {
    let (node, host) = names();
    let seen = stamp("2026-11-30T09:00:00Z");
    let off = done("off", "2026-11-30T10:00:00Z");
    let power = powered();
    let judge = |events: &[FenceEvent], reboot| completed(events, &power, &node, &host, seen, reboot);
    assert!(judge(std::slice::from_ref(&off), false).is_ok());
    // The order in the list does not matter, the time does.
    let on = done("on", "2026-11-30T10:05:00Z");
    assert_eq!(judge(&[on.clone(), off.clone()], true), Err(NoProof::Nothing(node.clone())));
    let reboot = done("reboot", "2026-11-30T10:06:00Z");
    assert_eq!(judge(&[reboot.clone(), off.clone()], false), Err(NoProof::Reboot(node.clone())));
    assert!(judge(&[off.clone(), on, reboot], true).is_ok());
    let human = FenceEvent { delegate: Some("a human".into()), ..off.clone() };
    assert_eq!(judge(&[human], true), Err(NoProof::Human(node.clone())));
    let failed = FenceEvent { state: State::Failed, ..off.clone() };
    let pending = FenceEvent { state: State::Pending, completed: None, ..off };
    assert_eq!(judge(&[failed, pending], true), Err(NoProof::Nothing(node.clone())));
}

#[test]
fn a_completed_entry_counts_only_where_all_that_can_have_done_it_switches_power() {
    let (node, host) = names();
    let events = [done("off", "2026-11-30T10:00:00Z")];
    let seen = stamp("2026-11-30T09:00:00Z");
    let judge = |topology: &Topology| completed(&events, topology, &node, &host, seen, true);
    let mine = r#"target="compute-1""#;
    for good in [
        &[(mine, 1, "bmc-1,nova")][..],
        &[(mine, 1, "ping,bmc-1")],
        &[(mine, 1, "nova,bmc-1"), (mine, 2, "bmc-t")],
        &[(mine, 1, "bmc-1"), (r#"target="compute-2""#, 1, "nova")],
    ] {
        assert!(judge(&topology(good)).is_ok(), "{good:?}");
    }
    for (bad, by) in [
        (&[(mine, 1, "nova")][..], "the level nova"),
        (&[(mine, 1, "bmc-1"), (mine, 2, "ping,nova")], "the level ping,nova"),
        (&[(mine, 1, "scsi,kdump")], "the level scsi,kdump"),
        (&[(mine, 1, "bmc-1"), (r#"target-pattern=".*""#, 2, "nova")], "the level nova"),
        // Whatever is no power device may have done it.
        (&[(r#"target-pattern=".*""#, 1, "bmc-1")], "the device kdump"),
        (&[(r#"target="compute-2""#, 1, "bmc-1")], "the device kdump"),
    ] {
        let refused = judge(&topology(bad));
        assert!(
            matches!(&refused, Err(NoProof::NotPower { by: of, .. }) if of == by),
            "{bad:?}: {refused:?}"
        );
    }
    let with = |more: &str| {
        let device = r#"<primitive id="bmc" class="stonith" type="fence_ipmilan">"#;
        judge(&Topology::parse(&format!("<cib>{device}{more}</primitive></cib>")).unwrap())
    };
    assert!(with("").is_ok());
    assert!(with(r#"<nvpair name="stonith-watchdog-timeout" value="0"/>"#).is_ok());
    for more in [
        r#"<nvpair name="stonith-watchdog-timeout" value="10s"/>"#,
        r#"<nvpair name="stonith-watchdog-timeout" value="-1"/>"#,
        r#"<nvpair name="pcmk_off_action" value="reboot"/>"#,
    ] {
        assert!(matches!(with(more), Err(NoProof::NotPower { .. })), "{more}");
    }
    assert!(matches!(judge(&Topology::parse("<cib/>").unwrap()), Err(NoProof::NotPower { .. })));
}

fn topology(levels: &[(&str, u32, &str)]) -> Topology {
    let mut text = String::from(
        r#"<cib><configuration><resources>
        <primitive id="bmc-1" class="stonith" type="fence_ipmilan"/>
        <group id="g"><primitive id="nova" class="stonith" type="fence_nova"/></group>
        <primitive id="kdump" class="stonith" type="fence_kdump"/>
        <primitive id="ping" class="stonith" type="fence_heuristics_ping"/>
        <primitive id="scsi" class="stonith" type="fence_scsi"/>
        <primitive id="null" class="stonith" type="null"/>
        <primitive id="odd" class="stonith" type="fence_ipmilan"><nvpair name="pcmk_off_action" value="status"/></primitive>
        <primitive id="vip" class="ocf" provider="heartbeat" type="IPaddr2"/>
        <primitive id="bmc-t" template="bmc"/>
        <template id="bmc" class="stonith" type="fence_redfish"><instance_attributes id="a"/></template>
        <template id="ours" class="stonith" type="fence_nova"/>
        <primitive id="nova-t" template="ours"><instance_attributes id="b"/></primitive>
        <template id="address" class="ocf" provider="heartbeat" type="IPaddr2"/>
        <primitive id="vip-t" template="address"/>
        <primitive id="gone-t" template="gone"/>
        </resources><fencing-topology>"#,
    );
    for (target, index, devices) in levels {
        let level = format!(r#"<fencing-level id="l{index}" {target} index="{index}" devices="{devices}"/>"#);
        text.push_str(&level);
    }
    text += "</fencing-topology></configuration></cib>";
    Topology::parse(&text).unwrap()
}

#[test]
fn inside_a_level_only_what_comes_before_us_counts() {
    let (node, host) = names();
    let events = history(HISTORY).unwrap();
    let now = stamp("2026-11-30T10:10:00Z");
    let judge = |levels: &[(&str, u32, &str)]| {
        behind_others(&events, &topology(levels), &node, &host, "fence_nova", now)
            .map(|proof| proof.to_string())
    };
    let mine = r#"target="compute-1""#;
    assert_eq!(
        judge(&[(mine, 1, "bmc-1,nova")]).unwrap(),
        "compute-1.example.org is off since 2026-11-30T10:10:00.000Z: Pacemaker's bmc-1 did off"
    );
    for bad in [
        &[][..],
        &[(mine, 1, "nova,bmc-1")],
        &[(mine, 1, "bmc-1"), (mine, 2, "nova")],
        &[(mine, 1, "bmc-1,nova"), (mine, 2, "nova")],
        &[(mine, 1, "kdump,nova")],
        // They stand first, and their off succeeds while the host runs.
        &[(mine, 1, "ping,nova")],
        &[(mine, 1, "ping,scsi,null,nova")],
        &[(mine, 1, "odd,nova")],
        &[(mine, 1, "gone,nova")],
        &[(r#"target="compute-2""#, 1, "bmc-1,nova")],
        &[(mine, 1, "bmc-1,nova"), (r#"target-pattern=".*""#, 2, "nova")],
    ] {
        assert!(matches!(judge(bad), Err(NoProof::First { .. })), "{bad:?}");
    }
    assert!(judge(&[(r#"target-pattern=".*""#, 1, "bmc-1,nova")]).is_ok());
    // Types of templates, which may come before or after.
    for good in ["bmc-t,nova", "bmc-1,nova-t", "bmc-t,nova-t"] {
        assert!(judge(&[(mine, 1, good)]).is_ok(), "{good}");
    }
    for bad in ["vip-t,nova-t", "gone-t,nova-t", "nova,nova-t", "nova-t,bmc-t"] {
        assert!(matches!(judge(&[(mine, 1, bad)]), Err(NoProof::First { .. })), "{bad}");
    }
    assert!(judge(&[(mine, 1, "ping,bmc-1,nova")]).unwrap().contains("Pacemaker's bmc-1 did off"));
    assert!(judge(&[(mine, 1, "kdump,bmc-1,nova"), (r#"target="compute-2""#, 2, "nova")]).is_ok());
}

#[test]
fn a_cluster_that_reboots_switches_on_again() {
    let (node, _) = names();
    let level = r#"<fencing-level id="l" target="compute-1" index="1" devices="bmc,nova"/>"#;
    let on = |property: &str, parameter: &str| {
        let text = format!(
            r#"<cib><configuration><crm_config><cluster_property_set id="p">{property}</cluster_property_set></crm_config>
            <resources><primitive id="bmc" template="t"/>
            <template id="t" class="stonith" type="fence_ipmilan"><instance_attributes id="i">{parameter}</instance_attributes></template>
            <primitive id="nova" class="stonith" type="fence_nova"/></resources>
            <fencing-topology>{level}</fencing-topology></configuration></cib>"#
        );
        Topology::parse(&text).unwrap().switched_on_by(&node, "fence_nova").map(str::to_owned)
    };
    let off = r#"<nvpair id="a" name="stonith-action" value="off"/>"#;
    let reboot = r#"<nvpair id="a" name="stonith-action" value="reboot"/>"#;
    let only_off = r#"<nvpair id="b" name="pcmk_reboot_action" value="off"/>"#;
    assert_eq!(on("", ""), Some("bmc".to_owned()), "reboot is what the cluster does if nothing is said");
    assert_eq!(on(reboot, ""), Some("bmc".to_owned()));
    assert_eq!((on(off, ""), on(reboot, only_off), on("", only_off)), (None, None, None));
    let other = "compute-2".parse().unwrap();
    let topology = topology(&[(r#"target="compute-1""#, 1, "bmc-1,nova")]);
    assert_eq!(topology.switched_on_by(&other, "fence_nova"), None);
    assert_eq!(topology.switched_on_by(&node, "fence_nova"), Some("bmc-1"));
}

#[test]
fn nothing_follows_when_the_fencer_does_not_fence() {
    let (node, host) = names();
    let levels = topology(&[(r#"target="compute-1""#, 1, "bmc-1,nova")]);
    let now = stamp("2026-11-30T10:10:00Z");
    let pending =
        FenceEvent { state: State::Pending, completed: None, ..done("off", "2026-11-30T10:00:00Z") };
    let judge = |events: &[FenceEvent]| behind_others(events, &levels, &node, &host, "fence_nova", now);
    assert!(judge(std::slice::from_ref(&pending)).is_ok());
    assert_eq!(judge(&[done("off", "2026-11-30T10:00:00Z")]), Err(NoProof::NotNow(node.clone())));
    // A level of several devices is never rebooted: the fencer makes it off and on. Nodes that did not ask for it
    // show what was asked for all the while.
    let reboot = FenceEvent { action: "reboot".into(), ..pending.clone() };
    assert!(judge(&[reboot]).is_ok());
    let on = FenceEvent { action: "on".into(), ..pending.clone() };
    assert_eq!(judge(&[on]), Err(NoProof::NotNow(node.clone())));
}
