/* SPDX-License-Identifier: MIT */
#include "display/refine.h"
