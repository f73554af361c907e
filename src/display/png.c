/* SPDX-License-Identifier: MIT */
#include "display/png.h"
