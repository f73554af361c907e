/* SPDX-License-Identifier: MIT */
#include "rfb/encode.h"
