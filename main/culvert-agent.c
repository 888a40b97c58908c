/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-agent: the program is agent/; this is only its entry. */
#include "agent/agent.h"

int main(int argc, char **argv)
{
	return agent_main(argc, argv);
}
