/* SPDX-License-Identifier: MIT */
#include "display/keys.h"
