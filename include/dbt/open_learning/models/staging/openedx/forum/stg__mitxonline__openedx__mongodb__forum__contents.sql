{{ openedx_forum_contents('mitxonline') }}
