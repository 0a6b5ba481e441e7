//! Access control in the CIB: the cluster takes a remote node's tools for a user with the node's name.

use crate::tools::row::Step::{Admin, Until};
use crate::tools::row::{Row, act, run};

/// Switches access control on: the node may read everything and change its Dummy.
const ON: &str = "cibadmin -M --allow-create -X \"<configuration><acls>\
     <acl_role id='look-{node}'><acl_permission id='look-{node}-1' kind='read' xpath='/cib'/>\
     <acl_permission id='look-{node}-2' kind='write' reference='dummy-{node}'/></acl_role>\
     <acl_target id='{node}'><role id='look-{node}'/></acl_target></acls></configuration>\" \
     && crm_attribute -t crm_config -n enable-acl -v true";
const OFF: &str = "crm_attribute -t crm_config -n enable-acl -D; cibadmin -D -X '<acl_target id=\"{node}\"/>'; \
     cibadmin -D -X '<acl_role id=\"look-{node}\"/>'";

pub(crate) const ROWS: &[Row] = &[
    act(
        "acl_lets_look",
        &[
            Admin(ON),
            run("cibadmin -Q -o nodes | tail -n 1", 0, "</nodes>"),
            run("cibadmin -Q >/dev/null", 0, ""),
            run("crm_mon -1 >/dev/null", 0, ""),
            run("crm_resource -W -r power", 0, "is running on"),
            run("stonith_admin -L", 0, "power"),
            run("crm_attribute -N {node} -l reboot -n acl -v 1", 0, ""),
            run("attrd_updater -n acl -U 2", 0, ""),
            Until("attrd_updater -n acl -QA", "host=\"{node}\" value=\"2\""),
            run("attrd_updater -n acl -D", 0, ""),
            run("crm_resource -r dummy-{node} -p fake -v 2", 0, "Set"),
            run("crm_resource -r dummy-{node} -d fake", 0, "Deleted"),
            Admin(OFF),
        ],
    ),
    act(
        "acl_refuses_changes",
        &[
            Admin(ON),
            run(
                "cibadmin -M -o crm_config -X '<cluster_property_set id=\"cib-bootstrap-options\"><nvpair id=\"o-m\" name=\"maintenance-mode\" value=\"true\"/></cluster_property_set>' -c",
                4,
                "Permission denied",
            ),
            run("crm_attribute -t crm_config -n maintenance-mode -v true", 4, "Permission denied"),
            run("crm_attribute -N {node} -n acl -v 1", 4, "Permission denied"),
            run("crm_standby -N {node} -v on", 4, "Permission denied"),
            run("crm_resource --ban -r power --node c1", 4, "Insufficient privileges"),
            run("cibadmin -D -o resources -X '<primitive id=\"power\"/>'", 4, "Permission denied"),
            Admin(OFF),
        ],
    ),
    act(
        "acl_refuses_everything",
        &[
            Admin("crm_attribute -t crm_config -n enable-acl -v true"),
            run("cibadmin -Q", 4, "Permission denied"),
            run("crm_mon -1 >/dev/null", 0, ""),
            run("crm_attribute -N {node} -n acl -v 1", 105, "Could not map name"),
            run("attrd_updater -n acl -U 2", 0, ""),
            run("attrd_updater -n acl -D", 0, ""),
            run("crm_resource --list", 4, "Insufficient privileges"),
            Admin(OFF),
        ],
    ),
];
