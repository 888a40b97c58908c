/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-manager: the program is manager/; this is only its entry. */
#include "manager/manager.h"

int main(int argc, char **argv)
{
	return manager_main(argc, argv);
}
