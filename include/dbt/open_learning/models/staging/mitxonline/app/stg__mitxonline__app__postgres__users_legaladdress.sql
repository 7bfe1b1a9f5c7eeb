select
  id as user_address_id,
  user_id,
  nullif(country, '') as user_address_country,
  nullif(state, '') as user_address_state
from {{ source('ol_warehouse_raw_data', 'raw__mitxonline__app__postgres__users_legaladdress') }}
