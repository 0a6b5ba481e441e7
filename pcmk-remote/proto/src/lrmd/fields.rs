//! Names of attributes, elements and operations.

/// Elements.
pub(super) mod element {
    pub(crate) const ALERT: &str = "lrmd_alert";
    pub(crate) const ATTRIBUTES: &str = "attributes";
    pub(crate) const CALLDATA: &str = "lrmd_calldata";
    pub(crate) const CHECK: &str = "lrmd_op";
    pub(crate) const COMMAND: &str = "lrmd_command";
    pub(crate) const IPC_MSG: &str = "lrmd_ipc_msg";
    pub(crate) const IPC_PROXY: &str = "lrmd_ipc_proxy";
    pub(crate) const NOTIFY: &str = "lrmd_notify";
    pub(crate) const PARAM: &str = "param";
    pub(crate) const REPLY: &str = "lrmd_reply";
    pub(crate) const RSC: &str = "lrmd_rsc";
    pub(crate) const RSC_OP: &str = "lrmd_rsc_op";
}

/// Attributes.
pub(super) mod attr {
    pub(crate) const ACTION: &str = "lrmd_rsc_action";
    pub(crate) const ALERT_ID: &str = "lrmd_alert_id";
    pub(crate) const ALERT_PATH: &str = "lrmd_alert_path";
    pub(crate) const CALLID: &str = "lrmd_callid";
    pub(crate) const CALLOPT: &str = "lrmd_callopt";
    pub(crate) const CLASS: &str = "lrmd_class";
    pub(crate) const CLIENT_ID: &str = "lrmd_clientid";
    pub(crate) const CLIENT_NAME: &str = "lrmd_clientname";
    pub(crate) const EXEC_RC: &str = "lrmd_exec_rc";
    pub(crate) const EXEC_STATUS: &str = "lrmd_exec_op_status";
    pub(crate) const EXEC_TIME: &str = "lrmd_exec_time";
    pub(crate) const EXIT_REASON: &str = "lrmd_rsc_exit_reason";
    pub(crate) const INTERVAL: &str = "lrmd_rsc_interval";
    pub(crate) const IPC_CLIENT: &str = "lrmd_ipc_client";
    pub(crate) const IPC_MSG_FLAGS: &str = "lrmd_ipc_msg_flags";
    pub(crate) const IPC_MSG_ID: &str = "lrmd_ipc_msg_id";
    pub(crate) const IPC_OP: &str = "lrmd_ipc_op";
    pub(crate) const IPC_SERVER: &str = "lrmd_ipc_server";
    pub(crate) const IPC_SESSION: &str = "lrmd_ipc_session";
    pub(crate) const IPC_USER: &str = "lrmd_ipc_user";
    pub(crate) const IS_IPC_PROVIDER: &str = "lrmd_is_ipc_provider";
    pub(crate) const MSG_ID: &str = "lrmd_remote_msg_id";
    pub(crate) const MSG_TYPE: &str = "lrmd_remote_msg_type";
    pub(crate) const NAME: &str = "name";
    pub(crate) const NAME_REPEATED: &str = "__name__";
    pub(crate) const NODE_START_STATE: &str = "node_start_state";
    pub(crate) const OP: &str = "lrmd_op";
    pub(crate) const ORIGIN: &str = "lrmd_origin";
    pub(crate) const OUTPUT: &str = "lrmd_rsc_output";
    pub(crate) const PROTOCOL_VERSION: &str = "lrmd_protocol_version";
    pub(crate) const PROVIDER: &str = "lrmd_provider";
    pub(crate) const QUEUE_TIME: &str = "lrmd_queue_time";
    pub(crate) const RC: &str = "lrmd_rc";
    pub(crate) const RCCHANGE_TIME: &str = "lrmd_rcchange_time";
    pub(crate) const RSC_DELETED: &str = "lrmd_rsc_deleted";
    pub(crate) const RSC_ID: &str = "lrmd_rsc_id";
    pub(crate) const RUN_TIME: &str = "lrmd_run_time";
    pub(crate) const START_DELAY: &str = "lrmd_rsc_start_delay";
    pub(crate) const T: &str = "t";
    pub(crate) const TIMEOUT: &str = "lrmd_timeout";
    pub(crate) const TOKEN: &str = "lrmd_async_id";
    pub(crate) const TYPE: &str = "lrmd_type";
    pub(crate) const UPTIME: &str = "uptime";
    pub(crate) const USERDATA: &str = "lrmd_rsc_userdata_str";
    pub(crate) const VALUE: &str = "value";
    pub(crate) const WATCHDOG: &str = "lrmd_watchdog";
}

/// Values of `lrmd_op`.
pub(super) mod op {
    pub(crate) const ALERT: &str = "lrmd_alert_exec";
    pub(crate) const CANCEL: &str = "lrmd_rsc_cancel";
    pub(crate) const CHECK: &str = "lrmd_check";
    pub(crate) const EXEC: &str = "lrmd_rsc_exec";
    pub(crate) const INFO: &str = "lrmd_rsc_info";
    pub(crate) const IPC_FORWARD: &str = "ipc_fwd";
    pub(crate) const NEW_CLIENT: &str = "lrmd_rsc_new_client";
    pub(crate) const POKE: &str = "lrmd_rsc_poke";
    pub(crate) const RECURRING: &str = "lrmd_get_recurring";
    pub(crate) const REGISTER: &str = "register";
    pub(crate) const RSC_REGISTER: &str = "lrmd_rsc_register";
    pub(crate) const RSC_UNREGISTER: &str = "lrmd_rsc_unregister";
}

/// Values of `lrmd_ipc_op`.
pub(super) mod ipc {
    pub(crate) const DESTROY: &str = "destroy";
    pub(crate) const EVENT: &str = "event";
    pub(crate) const NEW: &str = "new";
    pub(crate) const REQUEST: &str = "request";
    pub(crate) const RESPONSE: &str = "response";
    pub(crate) const SHUTDOWN_ACK: &str = "shutdown_ack";
    pub(crate) const SHUTDOWN_NACK: &str = "shutdown_nack";
    pub(crate) const SHUTDOWN_REQUEST: &str = "shutdown_req";
}

/// Values of `lrmd_remote_msg_type`.
pub(super) mod kind {
    pub(crate) const NOTIFY: &str = "notify";
    pub(crate) const REPLY: &str = "reply";
    pub(crate) const REQUEST: &str = "request";
}

/// Value of `t`.
pub(super) const T_LRMD: &str = "lrmd";
/// `lrmd_ipc_session` of a shutdown request: there is no session, but the attribute marks proxy traffic.
pub(super) const NO_SESSION: &str = "0";
