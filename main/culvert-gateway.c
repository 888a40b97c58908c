/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-gateway: the program is gateway/; this is only its entry. */
#include "gateway/gateway.h"

int main(int argc, char **argv)
{
	return gateway_main(argc, argv);
}
