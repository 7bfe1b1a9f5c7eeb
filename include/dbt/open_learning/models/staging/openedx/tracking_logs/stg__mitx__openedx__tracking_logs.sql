{{ openedx_tracking_logs('mitx') }}
