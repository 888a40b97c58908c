/* SPDX-License-Identifier: Apache-2.0 */
/* The manifests' text inside the binary; CMake names the file. */
#include "deploy/internal.h"

__asm__(".section .rodata\n"
	".global deploy_manifests, deploy_manifests_end\n"
	"deploy_manifests:\n"
	".incbin \"" DEPLOY_MANIFESTS "\"\n"
	"deploy_manifests_end:\n"
	".byte 0\n"
	".previous\n");
