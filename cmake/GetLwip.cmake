# SPDX-License-Identifier: Apache-2.0
add_library(lwip INTERFACE) # placeholder until third_party/lwip is wired (netstack)
