/* SPDX-License-Identifier: MIT */
#include "display/scanout.h"
