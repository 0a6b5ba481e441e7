//! Attributes and the configuration.

use crate::tools::row::Step::{Admin, Online, Until};
use crate::tools::row::{Row, act, run, runs};

pub(crate) const ROWS: &[Row] = &[
    act(
        "crm_attribute_forever",
        &[
            run("crm_attribute -N {node} -n colour -v red", 0, ""),
            run("crm_attribute -N {node} -n colour --query", 0, "name=colour value=red"),
            run("crm_attribute -N {node} -n colour -v 'a <b> & \"c\"'", 0, ""),
            run("crm_attribute -N {node} -n colour -Gq", 0, "a <b> & \"c\""),
            run("crm_attribute -N {node} -n colour -D", 0, "Deleted nodes attribute"),
            run("crm_attribute -N {node} -n colour --query", 105, ""),
        ],
    ),
    act(
        "crm_attribute_reboot",
        &[
            run("crm_attribute -N {node} -l reboot -n mood -v good", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n mood -Gq", "good"),
            run("crm_attribute -N {node} -l reboot -n mood --query", 0, "name=mood value=good"),
            run("crm_attribute -N {node} -l reboot -n mood -v better", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n mood -Gq", "better"),
            run("crm_attribute -N {node} -l reboot -n mood -D", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n mood -Gq", "No such device or address"),
        ],
    ),
    // An agent does not say which node it is on: the daemon must.
    act(
        "crm_attribute_local_node",
        &[
            run("OCF_RESOURCE_INSTANCE=x crm_attribute -l reboot -n here -v 1", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n here -Gq", "1"),
            run("crm_attribute -l reboot -n here -D", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n here -Gq", "No such device or address"),
        ],
    ),
    act(
        "crm_attribute_of_another_node",
        &[
            run("crm_attribute -N c1 -n colour -v blue", 0, ""),
            run("crm_attribute -N c1 -n colour -G", 0, "value=blue"),
            run("crm_attribute -N c1 -n colour -D", 0, ""),
        ],
    ),
    act(
        "crm_attribute_option",
        &[
            run("crm_attribute -t crm_config -n stop-all-resources -v false", 0, ""),
            run("crm_attribute -t crm_config -n stop-all-resources -G", 0, "value=false"),
            run("crm_attribute -t crm_config -n stop-all-resources -D", 0, ""),
            run("crm_attribute -t rsc_defaults -n migration-threshold -v 7", 0, ""),
            run("crm_attribute -t rsc_defaults -n migration-threshold -D", 0, ""),
        ],
    ),
    act(
        "promotion_score",
        &[
            run("crm_attribute --promotion=some -N {node} -v 5", 0, ""),
            Until("crm_attribute --promotion=some -N {node} -Gq", "5"),
            run("crm_attribute --promotion=some -N {node} -D", 0, ""),
            Until("crm_attribute --promotion=some -N {node} -G", "No such device or address"),
            run("OCF_RESOURCE_INSTANCE=some crm_master -l reboot -v 10", 0, ""),
            Until("crm_attribute --promotion=some -N {node} -Gq", "10"),
            run("OCF_RESOURCE_INSTANCE=some crm_master -l reboot -D", 0, ""),
            Until("crm_attribute --promotion=some -N {node} -G", "No such device or address"),
        ],
    ),
    act(
        "attrd_updater",
        &[
            run("attrd_updater -n speed -U 5", 0, ""),
            Until("attrd_updater -n speed -QA", "host=\"{node}\" value=\"5\""),
            // Whose value that is depends on the release.
            run("attrd_updater -n speed -Q >/dev/null", 0, ""),
            run("attrd_updater -n speed -QA | grep {node}", 0, "host=\"{node}\" value=\"5\""),
            run("attrd_updater -n speed -N {node} -Q", 0, "host=\"{node}\" value=\"5\""),
            run("attrd_updater -n speed -U value++", 0, ""),
            Until("attrd_updater -n speed -QA", "value=\"6\""),
            run("attrd_updater -n speed -U value+=4", 0, ""),
            Until("attrd_updater -n speed -QA", "value=\"10\""),
            Until("crm_attribute -N {node} -l reboot -n speed -Gq", "10"),
            run("attrd_updater -n speed -D", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n speed -G", "No such device or address"),
        ],
    ),
    act(
        "attrd_updater_dampening",
        &[
            run("attrd_updater -n slow-{node} -B 1 -d 10s", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n slow-{node} -Gq", "1"),
            run("attrd_updater -n slow-{node} -U 2", 0, ""),
            run("attrd_updater -n slow-{node} -N {node} -Q", 0, "value=\"2\""),
            // Not yet in the CIB …
            run("crm_attribute -N {node} -l reboot -n slow-{node} -Gq", 0, "1"),
            // … but later.
            Until("crm_attribute -N {node} -l reboot -n slow-{node} -Gq", "2"),
            run("attrd_updater -n slow-{node} -Y -d 0s", 0, ""),
            run("attrd_updater -n slow-{node} -D", 0, ""),
            Until("crm_attribute -N {node} -l reboot -n slow-{node} -G", "No such device or address"),
        ],
    ),
    act(
        "attrd_updater_private",
        &[
            run("attrd_updater -p -n secret -U 1", 0, ""),
            Until("attrd_updater -n secret -QA", "value=\"1\""),
            run("crm_attribute -N {node} -l reboot -n secret -Gq", 105, ""),
            run("attrd_updater -n secret -D", 0, ""),
        ],
    ),
    act(
        "attrd_updater_of_another_node",
        &[
            run("attrd_updater -N c2 -n speed -U 5", 0, ""),
            Until("attrd_updater -n speed -QA", "host=\"c2\" value=\"5\""),
            run("attrd_updater -N c2 -n speed -D", 0, ""),
        ],
    ),
    act("attrd_updater_refresh", &[run("attrd_updater -R", 0, "")]),
    act(
        "cibadmin_create_modify_delete",
        &[
            run(
                "cibadmin -C -o constraints -X '<rsc_location id=\"t1\" rsc=\"dummy-{node}\" node=\"c1\" score=\"1\"/>'",
                0,
                "",
            ),
            run(
                "cibadmin -C -o constraints -X '<rsc_location id=\"t1\" rsc=\"dummy-{node}\" node=\"c1\" score=\"1\"/>'",
                108,
                "File exists",
            ),
            run(
                "cibadmin -M -o constraints -X '<rsc_location id=\"t1\" rsc=\"dummy-{node}\" node=\"c1\" score=\"2\"/>'",
                0,
                "",
            ),
            run("cibadmin -Q --xpath '//rsc_location[@id=\"t1\"]'", 0, "score=\"2\""),
            run(
                "cibadmin -M -o constraints -X '<rsc_location id=\"t1\" rsc=\"nobody\" node=\"c1\"/>' >/dev/null",
                78,
                "",
            ),
            run(
                "echo '<rsc_location id=\"t1\" rsc=\"dummy-{node}\" node=\"c1\" score=\"3\"/>' | cibadmin -M -o constraints -p",
                0,
                "",
            ),
            run("cibadmin -D -o constraints -X '<rsc_location id=\"t1\"/>'", 0, ""),
            run("cibadmin -Q --xpath '//rsc_location[@id=\"t1\"]'", 105, ""),
            runs("cibadmin -M -o constraints -X '<bad'", [105, 78, 65], ""),
        ],
    ),
    act(
        "cibadmin_replace",
        &[
            run(
                "cibadmin -Q -o constraints >/run/constraints.xml && cibadmin -R -o constraints -x /run/constraints.xml",
                0,
                "",
            ),
            run("cibadmin -Q >/run/cib.xml && cibadmin -R -x /run/cib.xml", 0, ""),
            run("cibadmin -B", 0, ""),
        ],
    ),
    act(
        "crm_standby",
        &[
            run("crm_standby -N {node} -v on", 0, ""),
            run("crm_standby -N {node} -G", 0, "value=on"),
            run("crm_standby -N {node} -D", 0, "Deleted nodes attribute"),
            run("crm_standby -N {node} -G", 0, "value=off"),
        ],
    ),
    act(
        "crm_ticket",
        &[
            run("crm_ticket --ticket t1 --grant --force", 0, ""),
            run("crm_ticket --ticket t1 --query-xml", 0, "granted=\"true\""),
            run("crm_ticket --ticket t1 --standby", 0, ""),
            run("crm_ticket --ticket t1 --revoke --force", 0, ""),
            run("crm_ticket --ticket t1 --cleanup --force", 0, ""),
        ],
    ),
    act(
        "crm_shadow",
        &[
            run("crm_shadow --create test --batch --force", 0, "CIB_shadow=test"),
            run("CIB_shadow=test crm_attribute -N {node} -n shadow -v 1", 0, ""),
            run("CIB_shadow=test crm_attribute -N {node} -n shadow -Gq", 0, "1"),
            run("crm_attribute -N {node} -n shadow -Gq", 105, ""),
            run("CIB_shadow=test crm_shadow --diff >/dev/null", 1, ""),
            run("crm_shadow --delete test --force", 0, ""),
        ],
    )
    .not_older(),
    act(
        "stonith_admin_fences",
        &[
            Online("v1"),
            run("stonith_admin --reboot v1 -t 40", 0, ""),
            run("stonith_admin -H v1", 0, "v1"),
            run("stonith_admin -H v1 --output-as=xml", 0, "target=\"v1\""),
            Online("v1"),
            run("stonith_admin -H v1 --cleanup", 0, ""),
            run("stonith_admin -H v1", 0, "0 events found"),
            run("stonith_admin --reboot nobody -t 5", 124, "Couldn't fence nobody"),
            Admin("stonith_admin -H nobody --cleanup"),
        ],
    ),
];
