/* SPDX-License-Identifier: MIT */
#include "rfb/rfb.h"
