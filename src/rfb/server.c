/* SPDX-License-Identifier: MIT */
#include "rfb/server.h"
