{{ openedx_tracking_logs('mitxonline') }}
