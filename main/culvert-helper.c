/* SPDX-License-Identifier: Apache-2.0 */
/* culvert-helper: the root half on the laptop (helper/helper.h). */
#include "helper/helper.h"

int main(int argc, char **argv)
{
	return helper_main(argc, argv);
}
