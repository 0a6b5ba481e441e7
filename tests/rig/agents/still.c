/* ocf:rig:still: an agent without a shell or library, for a daemon in a root that holds nothing else. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATE "/still-runs"

int main(int argc, char **argv)
{
    const char *action = argc > 1 ? argv[1] : "";

    if (strcmp(action, "meta-data") == 0) {
        puts("<resource-agent name=\"still\"><version>1.1</version><parameters/><actions>"
             "<action name=\"start\" timeout=\"20s\"/><action name=\"stop\" timeout=\"20s\"/>"
             "<action name=\"monitor\" timeout=\"20s\" interval=\"10s\"/>"
             "<action name=\"meta-data\" timeout=\"5s\"/></actions></resource-agent>");
        return 0;
    }
    if (strcmp(action, "start") == 0) {
        return open(STATE, O_CREAT | O_WRONLY, 0600) < 0;
    }
    if (strcmp(action, "stop") == 0) {
        unlink(STATE);
        return 0;
    }
    if (strcmp(action, "monitor") == 0) {
        return access(STATE, F_OK) == 0 ? 0 : 7; /* OCF_NOT_RUNNING */
    }
    return 3; /* OCF_ERR_UNIMPLEMENTED */
}
