//! What users other than root may do.

use crate::tools::row::User::{Hacluster, Member, Second, Stranger};
use crate::tools::row::{Row, act, look, looks, run};

pub(crate) const ROWS: &[Row] = &[
    look("hacluster_crm_mon", "crm_mon -1", 0, "RemoteOnline: [").by(Hacluster),
    look("hacluster_cibadmin", "cibadmin -Q", 0, "<cib ").by(Hacluster),
    look("member_crm_mon", "crm_mon -1", 0, "RemoteOnline: [").by(Member),
    look("member_cibadmin", "cibadmin -Q", 0, "<cib ").by(Member),
    look("member_crm_resource", "crm_resource --list", 0, "power").by(Member),
    look("member_stonith_admin", "stonith_admin -L", 0, "1 fence device found").by(Member),
    look("member_crmadmin", "crmadmin -D", 0, "Designated Controller is: c").by(Member),
    look("member_crm_node", "crm_node -n", 0, "{node}").by(Member),
    look("member_crm_simulate", "crm_simulate -L", 0, "RemoteOnline: [").by(Member),
    act(
        "member_changes",
        &[
            run("crm_attribute -N {node} -n member -v 1", 0, ""),
            run("crm_attribute -N {node} -n member -G", 0, "value=1"),
            run("crm_attribute -N {node} -n member -D", 0, "Deleted nodes attribute"),
            run("attrd_updater -n member -U 1", 0, ""),
            run("attrd_updater -n member -D", 0, ""),
        ],
    )
    .by(Member),
    look("second_crm_mon", "crm_mon -1", 0, "RemoteOnline: [").by(Second),
    act(
        "second_changes",
        &[
            run("crm_attribute -N {node} -n second -v 1", 0, ""),
            run("crm_attribute -N {node} -n second -D", 0, "Deleted nodes attribute"),
            run("attrd_updater -n second -U 1", 0, ""),
            run("attrd_updater -n second -D", 0, ""),
        ],
    )
    .by(Second),
    look("stranger_crm_mon", "crm_mon -1", 0, "Transport endpoint is not connected").by(Stranger),
    look("stranger_crm_mon_xml", "crm_mon -1 --output-as=xml", 0, "Transport endpoint is not connected")
        .by(Stranger),
    look("stranger_cibadmin", "cibadmin -Q", 102, "Transport endpoint is not connected").by(Stranger),
    look("stranger_crm_attribute", "crm_attribute -N {node} -n x -G", 102, "not connected").by(Stranger),
    look("stranger_attrd_updater", "attrd_updater -n x -U 1", 4, "Permission denied").by(Stranger),
    look("stranger_attrd_updater_query", "attrd_updater -n x -Q", 4, "").by(Stranger),
    look("stranger_crm_resource", "crm_resource --list", 102, "not connected").by(Stranger),
    look("stranger_stonith_admin", "stonith_admin -L", 102, "not connected").by(Stranger),
    look("stranger_crmadmin", "crmadmin -D", 4, "Permission denied").by(Stranger),
    looks("stranger_crmadmin_pacemakerd", "crmadmin -P", [1, 0, 0], "").by(Stranger),
    looks("stranger_crm_verify", "crm_verify -L", [66, 102, 102], "").by(Stranger),
    look("stranger_crm_node", "crm_node -n", 4, "").by(Stranger),
    looks("stranger_crm_simulate", "crm_simulate -L", [66, 102, 102], "").by(Stranger),
];
