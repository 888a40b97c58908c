/* SPDX-License-Identifier: Apache-2.0 */
/* The manifests' text inside the binary; CMake names the file. */
#include "deploy/internal.h"

__asm__(".section .rodata\n"
	".global deploy_manifests\n"
	"deploy_manifests:\n"
	".incbin \"" DEPLOY_MANIFESTS "\"\n"
	".byte 0\n"
	".previous\n");
