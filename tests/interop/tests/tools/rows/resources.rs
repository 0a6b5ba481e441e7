//! Resources.

use crate::tools::row::Step::{Admin, Settle, Until};
use crate::tools::row::{Row, act, run, runs};

pub(crate) const ROWS: &[Row] = &[
    act(
        "crm_resource_cleanup",
        &[
            run(
                "crm_resource --cleanup -r dummy-{node} --node {node}",
                0,
                "Cleaned up dummy-{node} on {node}",
            ),
            run("crm_resource --cleanup -r dummy-{node} >/run/o; echo $?; grep -c Cleaned /run/o", 0, "0\n"),
            run("crm_resource --cleanup >/dev/null", 0, ""),
            run("crm_resource --cleanup -r nothing", 105, ""),
            Settle,
        ],
    ),
    act(
        "crm_resource_refresh",
        &[
            run(
                "crm_resource --refresh -r dummy-{node} --node {node}",
                0,
                "Cleaned up dummy-{node} on {node}",
            ),
            Settle,
            run("crm_resource --refresh -r dummy-{node} >/run/o; echo $?; grep -c Cleaned /run/o", 0, "0\n"),
            Settle,
            run("crm_resource -W -r dummy-{node}", 0, "is running on: {node}"),
        ],
    ),
    act(
        "crm_resource_move",
        &[
            run("crm_resource --move -r dummy-{node} --node c1", 0, ""),
            run("crm_resource --wait --timeout 40", 0, ""),
            run("crm_resource -W -r dummy-{node}", 0, "is running on: c1"),
            run("crm_resource --clear -r dummy-{node}", 0, "Removing constraint: cli-prefer-dummy-{node}"),
            run("crm_resource --wait --timeout 40", 0, ""),
            run("crm_resource -W -r dummy-{node}", 0, "is running on: {node}"),
            run("crm_resource --move -r dummy-{node}", 0, "cli-ban-dummy-{node}-on-{node}"),
            Settle,
            run("crm_resource --clear -r dummy-{node} --node {node}", 0, "Removing constraint"),
            Settle,
            run("crm_resource --move -r dummy-{node} --node nobody", 105, ""),
        ],
    )
    .not_older(),
    act(
        "crm_resource_parameters",
        &[
            run("crm_resource -r dummy-{node} --meta -p priority -v 3", 0, ""),
            run("crm_resource -r dummy-{node} --meta -g priority", 0, "3"),
            run("crm_resource -r dummy-{node} --meta -d priority", 0, "Deleted"),
            run("crm_resource -r dummy-{node} -p fake -v 2", 0, "Set 'dummy-{node}' option"),
            run("crm_resource -r dummy-{node} -g fake", 0, "2"),
            run("crm_resource -r dummy-{node} -d fake", 0, "Deleted 'dummy-{node}' option"),
            run("crm_resource -r dummy-{node} -g fake", 0, "not found"),
            Settle,
        ],
    ),
    act(
        "crm_resource_fail",
        &[
            Settle,
            run("crm_resource --fail -r dummy-{node} --node {node}", 0, ""),
            Settle,
            run(
                "crm_resource --cleanup -r dummy-{node} --node {node}",
                0,
                "Cleaned up dummy-{node} on {node}",
            ),
            Settle,
        ],
    ),
    act(
        "crm_failcount",
        &[
            run("attrd_updater -n 'fail-count-dummy-{node}#monitor_10000' -U 3", 0, ""),
            Until("crm_failcount -r dummy-{node} -N {node} -Gq", "3"),
            run("crm_failcount -r dummy-{node} -N {node} -G", 0, "value=3"),
            run("crm_failcount -r dummy-{node} -N {node} -D", 0, "Cleaned up dummy-{node} on {node}"),
            Until("crm_failcount -r dummy-{node} -N {node} -Gq", "0"),
            Settle,
        ],
    ),
    act(
        "crm_resource_restart",
        &[
            run("crm_resource --restart -r dummy-{node}", 0, "Waiting for 1 resources to start again:"),
            Settle,
        ],
    )
    .not_older(),
    act(
        "crm_resource_force",
        &[
            // The cluster's own monitor may come in between.
            Admin("crm_resource -r dummy-{node} --meta -p is-managed -v false"),
            Settle,
            run("crm_resource --force-stop -r dummy-{node}", 0, "returned 0"),
            run("crm_resource --force-check -r dummy-{node}", 7, "returned 7"),
            run("crm_resource --force-start -r dummy-{node}", 0, "returned 0"),
            run("crm_resource --force-check -r dummy-{node}", 0, "returned 0"),
            Settle,
            Admin("crm_resource -r dummy-{node} --meta -d is-managed"),
            Admin("crm_resource --cleanup -r dummy-{node}"),
            Settle,
        ],
    ),
    act("crm_node_remove", &[runs("crm_node -R nobody --force", [1, 0, 0], "")]),
];
